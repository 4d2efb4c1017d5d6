package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"holdfast/chunkstore/catalog"
	"holdfast/chunkstore/owner"
)

// completionTime bounds the look into the store while somebody waits at the
// prompt.
const completionTime = 2 * time.Second

// The shells ask the program itself: what is typed so far, then this flag.
const bashCompletion = `# holdfast: completion for bash
_holdfast() {
	local words=("${COMP_WORDS[@]:0:COMP_CWORD}") cur=${COMP_WORDS[COMP_CWORD]}
	[[ $cur == -* ]] && words+=("$cur")
	local IFS=$'\n'
	COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "$cur"))
}
complete -o bashdefault -o default -F _holdfast holdfast
`

const zshCompletion = `#compdef holdfast
# holdfast: completion for zsh
_holdfast() {
	local -a typed answers
	typed=("${(@)words[1,CURRENT-1]}")
	[[ ${words[CURRENT]} == -* ]] && typed+=("${words[CURRENT]}")
	answers=("${(@f)$("${typed[@]}" --generate-bash-completion 2>/dev/null)}")
	compadd -- "${answers[@]}"
	_files
}
compdef _holdfast holdfast
`

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print the completion script of a shell",
		UsageText: "holdfast completion bash|zsh|fish",
		CustomHelpTemplate: commandHelp(`
source <(holdfast completion bash)            # this shell
holdfast completion bash > /etc/bash_completion.d/holdfast
holdfast completion zsh > "${fpath[1]}/_holdfast"
holdfast completion fish > ~/.config/fish/completions/holdfast.fish
`, exitOK, exitUsage),
		BashComplete: func(c *cli.Context) { fmt.Fprint(c.App.Writer, "bash\nzsh\nfish\n") },
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usagef("completion needs one shell: bash, zsh or fish")
			}
			return runCompletion(c)
		},
	}
}

func runCompletion(c *cli.Context) error {
	var script string
	var err error
	switch shell := c.Args().First(); shell {
	case "bash":
		script = bashCompletion
	case "zsh":
		script = zshCompletion
	case "fish":
		script, err = c.App.ToFishCompletion()
	default:
		return usagef("no completion for %q: want bash, zsh or fish", shell)
	}
	if err == nil {
		_, err = fmt.Fprint(c.App.Writer, script)
	}
	return err
}

// completeVMs offers the store's VMs, or the command's options where one was
// begun.
func completeVMs(c *cli.Context) {
	cli.DefaultCompleteWithFlags(c.Command)(c)
	if c.NArg() == 0 {
		completeNames(c, func(ctx context.Context, h *owner.Handle) ([]string, error) { return catalog.VMs(ctx, h) })
	}
}

// completeNames offers what find finds in the store.
func completeNames(c *cli.Context, find func(context.Context, *owner.Handle) ([]string, error)) {
	opts, err := commonOf(c)
	if err != nil || opts.Store == "" {
		return
	}
	ctx, cancel := context.WithTimeout(c.Context, completionTime)
	defer cancel()
	withStore(ctx, opts, func(h *owner.Handle) error { //nolint:errcheck // no names, no completion
		names, err := find(ctx, h)
		for _, name := range names {
			if nameText(name) == name && !strings.ContainsAny(name, "\n:") {
				fmt.Fprintln(c.App.Writer, name)
			}
		}
		return err
	})
}
