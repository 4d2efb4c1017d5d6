package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"holdfast/capture/source"
	"holdfast/chunkstore"
	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/pack"
)

// usageError says that the command line is wrong.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// hintedError is an error with advice.
type hintedError struct {
	err   error
	hints []string
}

func (e *hintedError) Error() string { return e.err.Error() }
func (e *hintedError) Unwrap() error { return e.err }

func withHint(err error, hints ...string) error { return &hintedError{err, hints} }

// report prints an error for a person: one line that says what failed, then
// what to do about it.
func report(con *console, err error, status exitStatus) {
	if status == exitInterrupted {
		con.printf("%s: stopped\n", programName)
	} else {
		con.printf("%s: %s\n", programName, oneLine(err.Error()))
	}
	for _, h := range hintsOf(err) {
		con.printf("hint: %s\n", oneLine(h))
	}
}

// hintsOf collects the advice that the error carries, or else what is known to
// help.
func hintsOf(err error) []string {
	var hinted *hintedError
	if errors.As(err, &hinted) {
		return hinted.hints
	}
	var damage *pack.Damage
	var refused *source.RefusedError
	switch {
	case errors.As(err, &damage) && damage.Kind == pack.Unreadable:
		return []string{"the medium did not answer, which proves no damage: look at it (dmesg, mount) and try again"}
	case errors.As(err, &damage):
		return []string{"the next capture that brings the same content mends the chunk; other versions may be whole"}
	case errors.As(err, &refused):
		return nil // its text says what allows it
	case errors.Is(err, catalog.ErrForgotten):
		return []string{"see what can be brought back: holdfast list --forgotten", "bring it back: holdfast undelete VM@VERSION"}
	case errors.Is(err, catalog.ErrPinned):
		return []string{"nothing was forgotten; if it may go: holdfast unpin VM@VERSION"}
	case errors.Is(err, catalog.ErrPruned):
		return []string{"a pruning has taken it; what is left of it comes back with --partly, the rest reads as I/O errors"}
	case errors.Is(err, catalog.ErrNoVM):
		return []string{"see what is there: holdfast list"}
	case errors.Is(err, catalog.ErrNoVersion):
		return []string{"see what is there: holdfast list VM"}
	case errors.Is(err, chunkstore.ErrNoStore):
		return []string{"is --store or HOLDFAST_STORE right?"}
	case errors.Is(err, chunkstore.ErrFull):
		return fullHints()
	case errors.Is(err, chunkstore.ErrLostRoots):
		return []string{
			"if their pack can be read again: holdfast scrub --repair",
			"or bring them back from a replica: holdfast --store REPLICA replicate --to STORE",
			"or from a backup of the packs, and then: holdfast rebuild-index, which names them",
			"or give up what they needed: holdfast prune --give-up-lost",
		}
	case errors.Is(err, syscall.ENOSPC):
		return []string{"free some space and run it again: what was stored is used by the next try"}
	}
	return nil
}

// fullHints say what to type where the store's disk is full.
func fullHints() []string {
	return []string{
		"free space at once: holdfast forget VM@VERSION, then holdfast prune --grace 0s",
		"a capture that is tried again then uses what it has stored",
	}
}

// oneLine makes a text safe for a terminal: names in it may come from hostile
// images and stores.
func oneLine(s string) string {
	var b strings.Builder
	for _, line := range strings.Split(strings.TrimSpace(s), "\n") {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString(printable(strings.TrimSpace(line)))
	}
	return b.String()
}

// printable writes what a terminal could take for more than text as escapes.
func printable(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case r == '\t':
			b.WriteByte(' ')
		case !strconv.IsPrint(r):
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteRune(r)
		}
		s = s[n:]
	}
	return b.String()
}
