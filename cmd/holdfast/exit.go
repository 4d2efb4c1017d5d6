package main

import (
	"context"
	"errors"

	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/pack"
)

// exitStatus is how a command ended. The numbers are a contract with scripts
// and must never change; new ones may be added.
type exitStatus int

const (
	exitOK          exitStatus = 0
	exitFailure     exitStatus = 1
	exitUsage       exitStatus = 2
	exitDamage      exitStatus = 3
	exitNotFound    exitStatus = 4
	exitStore       exitStatus = 5
	exitInterrupted exitStatus = 130
)

// exitMeanings is the table that README.md and --help show.
var exitMeanings = []struct {
	status  exitStatus
	meaning string
}{
	{exitOK, "done"},
	{exitFailure, "failed; the message says why"},
	{exitUsage, "the command line is wrong; nothing was done"},
	{exitDamage, "damage exists: a chunk or a version did not come back as it was stored, or a scrub, verify or damage knows of a pack that must be repaired"},
	{exitNotFound, "no such VM, version, disk, guest's file or source file"},
	{exitStore, "the store can't be used: none there, of a newer format, damaged, or its owner does not answer"},
	{exitInterrupted, "stopped by Ctrl-C or SIGTERM"},
}

// statusError is an error with a status of its own.
type statusError struct {
	status exitStatus
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

func withStatus(s exitStatus, err error) error { return &statusError{s, err} }

// statusOf maps an error to the exit status. Damage counts before everything
// else: it must never hide behind an interruption or a wrapper.
func statusOf(ctx context.Context, err error) exitStatus {
	var damage *pack.Damage
	var usage *usageError
	var status *statusError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &damage):
		return exitDamage
	case errors.As(err, &status):
		return status.status
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, catalog.ErrNoVM), errors.Is(err, catalog.ErrNoVersion),
		errors.Is(err, chunkstore.ErrNotFound):
		return exitNotFound
	case errors.Is(err, chunkstore.ErrNoStore):
		return exitStore
	}
	return exitFailure
}
