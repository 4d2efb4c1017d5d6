package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore"
)

// version is set by the linker: -X main.version=1.2.3.
var version string

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:               "version",
		Usage:              "print the version of this program",
		UsageText:          "holdfast version",
		CustomHelpTemplate: commandHelp("holdfast version --json", exitOK, exitUsage),
		Action: func(c *cli.Context) error {
			opts, err := commonOf(c)
			if err != nil {
				return err
			}
			return runVersion(c.Context, opts)
		},
	}
}

// versionResult is what version --json prints.
type versionResult struct {
	Version       string `json:"version"`
	Commit        string `json:"commit,omitempty"`
	FormatVersion int    `json:"store_format_version"` // the newest that it reads
	Go            string `json:"go"`
	Platform      string `json:"platform"`
}

func buildInfo() versionResult {
	v := versionResult{Version: version, FormatVersion: chunkstore.FormatVersion, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = new(debug.BuildInfo)
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Commit = s.Value[:min(12, len(s.Value))]
		}
	}
	if v.Version == "" {
		v.Version = "dev"
	}
	return v
}

func programVersion() string { return buildInfo().Version }

// buildText is the one line that names this build.
func buildText() string {
	v := buildInfo()
	commit := ""
	if v.Commit != "" {
		commit = ", commit " + v.Commit
	}
	return fmt.Sprintf("%s %s (store format %d, %s, %s%s)", programName, v.Version, v.FormatVersion, v.Go, v.Platform, commit)
}

// runVersion prints the version.
func runVersion(_ context.Context, opts common) error {
	if opts.JSON {
		return printJSON(opts.Out, buildInfo())
	}
	_, err := fmt.Fprintln(opts.Out, buildText())
	return err
}
