package main

import (
	"io"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore"
)

// common is what every command is told.
type common struct {
	Store   string // directory; "" where none was named
	JSON    bool   // results as JSON
	Quiet   bool   // no messages, no progress
	Log     *slog.Logger
	Out     io.Writer // results
	Console *console  // everything else
	Signals *signals
	Jobs    *jobs // of this process, in the background

	indexCache int64 // bytes, where this process opens the store; 0: the default

	rebuild func(*chunkstore.RebuildReport) // makes opening the store put its index anew; nil: it does not
}

// newApp returns the command line program.
func newApp(out io.Writer, con *console, sig *signals) *cli.App {
	cli.FlagStringer = optionText // the library has no other way to word them
	app := &cli.App{
		Name:                      "holdfast",
		HelpName:                  "holdfast",
		Usage:                     "keep every version of every virtual disk as a plain file",
		UsageText:                 "holdfast [--store STORE] COMMAND ...",
		Description:               fillText(appDescription),
		CustomAppHelpTemplate:     appHelp,
		HideVersion:               true, // the version command shows it
		EnableBashCompletion:      true,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true, // a path may have a comma
		Writer:                    out,
		ErrWriter:                 con,
		Flags:                     globalFlags(),
		ExitErrHandler:            func(*cli.Context, error) {}, // only main exits
		OnUsageError:              onUsageError,
		Action:                    noCommand,
	}
	for _, c := range []*cli.Command{
		initCommand(), captureCommand(), listCommand(), showCommand(), mountCommand(),
		restoreCommand(), bootCommand(), pruneCommand(), checkCommand(), scrubCommand(), verifyCommand(), damageCommand(), rebuildIndexCommand(), upgradeCommand(), replicaCommand(), replicateCommand(), logCommand(),
		forgetCommand(), undeleteCommand(), pinCommand(), unpinCommand(), policyCommand(), statusCommand(), versionCommand(), completionCommand(),
		lsCommand(), catCommand(), cpCommand(), findCommand(), diffCommand(),
	} {
		c.HideHelpCommand = true // a VM may be named help
		c.OnUsageError = onUsageError
		c.Description = fillText(c.Description)
		app.Commands = append(app.Commands, c)
	}
	app.Metadata = map[string]any{metaConsole: con, metaSignals: sig}
	return app
}

const metaConsole, metaSignals = "console", "signals"

// globalFlags may stand anywhere on the command line; see permute.
func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "store", Usage: "the store's `DIRECTORY`", EnvVars: []string{"HOLDFAST_STORE"}, TakesFile: true},
		&cli.BoolFlag{Name: "json", DisableDefaultText: true, Usage: "print results as JSON"},
		&cli.BoolFlag{Name: "quiet", DisableDefaultText: true, Aliases: []string{"q"}, Usage: "print no messages and no progress, only results and errors"},
		&cli.StringFlag{Name: "log-level", Usage: "print log lines from `LEVEL` up: debug, info, warn or error", Value: "warn"},
	}
}

// commonOf gathers what every command is told.
func commonOf(c *cli.Context) (common, error) {
	con := c.App.Metadata[metaConsole].(*console)
	opts := common{
		Store: c.String("store"), JSON: c.Bool("json"), Quiet: c.Bool("quiet"),
		Out: c.App.Writer, Console: con, Signals: c.App.Metadata[metaSignals].(*signals),
		Jobs: new(jobs),
	}
	var level slog.Level
	switch l := c.String("log-level"); l {
	case "debug", "info", "warn", "error":
		if err := level.UnmarshalText([]byte(l)); err != nil {
			return common{}, err
		}
	default:
		return common{}, usagef("--log-level %q: want debug, info, warn or error", l)
	}
	if opts.Quiet {
		level = max(level, slog.LevelError)
	}
	con.quiet = opts.Quiet
	opts.Log = slog.New(&logHandler{con: con, level: level})
	return opts, nil
}

func onUsageError(_ *cli.Context, err error, _ bool) error { return &usageError{text: flagError(err)} }

// flagError words the flag library's errors as ours.
func flagError(err error) string {
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
		return "unknown option --" + strings.TrimPrefix(name, "-")
	}
	if name, ok := strings.CutPrefix(err.Error(), "flag needs an argument: -"); ok {
		return "option --" + strings.TrimPrefix(name, "-") + " needs a value"
	}
	return err.Error()
}

// noCommand is what happens where no command's name stands.
func noCommand(c *cli.Context) error {
	if !c.Args().Present() {
		return cli.ShowAppHelp(c)
	}
	name := c.Args().First()
	err := usagef("unknown command %q", name)
	for _, cmd := range c.App.Commands {
		if len(name) > 1 && (strings.HasPrefix(cmd.Name, name) || strings.HasPrefix(name, cmd.Name)) {
			return withHint(err, "did you mean: holdfast "+cmd.Name)
		}
	}
	return withHint(err, "see: holdfast --help")
}

// programName is how messages call this program.
const programName = "holdfast"

// noStore is the error of a command that needs a store and was told none.
func noStore() error {
	return withHint(usagef("no store was named"),
		"name it: holdfast --store /srv/holdfast ..., or export HOLDFAST_STORE=/srv/holdfast",
		"make a new one: holdfast init /srv/holdfast")
}
