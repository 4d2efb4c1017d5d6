package main

import (
	"context"
	"errors"
	"io"
	"os"

	"holdfast/fs"
)

func main() {
	if status, asked := fs.RunWatchdogIfAsked(); asked { // a mount's watchdog is this program again
		os.Exit(status)
	}
	os.Exit(run(os.Args))
}

// run does what the arguments say and returns the exit status. Only main, a
// second Ctrl-C and a failing index end the process.
func run(args []string) int {
	con := newConsole(os.Stderr)
	ctx, sig := interruptible(context.Background(), con)
	defer sig.stop()
	helper := isMountHelper(args[0])
	err := guard(func() error {
		return profiled(func() error {
			if helper {
				return runMountHelper(ctx, args[1:], os.Stdout, con, sig)
			}
			return runApp(ctx, args, os.Stdout, con, sig)
		})
	})
	con.endProgress()
	if err == nil {
		return int(exitOK)
	}
	status := statusOf(ctx, err)
	if !errors.Is(err, errReported) {
		report(con, err, status)
	}
	if helper {
		return mountStatus(status)
	}
	return int(status)
}

// runApp runs one command line.
func runApp(ctx context.Context, args []string, out io.Writer, con *console, sig *signals) error {
	app := newApp(out, con, sig)
	return app.RunContext(ctx, permute(app, args))
}

// errReported is an error whose message the user has seen already, printed by
// a child process.
var errReported = errors.New("reported already")
