// Command holdfast keeps every version of every virtual disk as a plain file.
//
// Each command has a file of its own with three parts: xCommand, the only one
// that knows the flag library; xOptions, a plain struct; and runX(ctx, opts),
// which does the work on the floors below and prints what it did. Exit
// statuses are in exit.go, the texts of errors in errors.go.
//
// Standard output carries results, in words or with --json as one document.
// Standard error carries everything else: messages, progress, log lines.
package main
