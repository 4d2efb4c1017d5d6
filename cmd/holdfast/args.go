package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// completionFlag is what a shell's completion script puts behind the words.
const completionFlag = "--generate-bash-completion"

// permute lets options stand anywhere: the flag library wants global options
// before the command and a command's own before its arguments, people don't
// remember that. What follows -- is left as it is.
//
//	restore web --format qcow2 out --store S   becomes
//	--store S restore --format qcow2 -- web out
func permute(app *cli.App, args []string) []string {
	if len(args) == 0 {
		return args
	}
	if last := len(args) - 1; args[last] == completionFlag {
		begun := last > 1 && strings.HasPrefix(args[last-1], "-") // an option: the library looks for it by itself
		if begun {
			last--
		}
		words := permute(app, args[:last])
		words = slices.DeleteFunc(words, func(w string) bool { return w == "--" }) // it would end completion
		return append(words, completionFlag)
	}
	global := flagArity(app.Flags)
	var globals, locals, words []string
	var local map[string]bool
	rest := args[1:]
	for len(rest) > 0 {
		arg := rest[0]
		if arg == "--" {
			words = append(words, rest[1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' { // "-" is a word: standard output
			if local == nil && len(words) == 0 {
				local = commandFlags(app, arg)
			}
			words, rest = append(words, arg), rest[1:]
			continue
		}
		to, arity := &locals, local
		if _, ok := global[flagName(arg)]; ok || local == nil {
			to, arity = &globals, global
		}
		n := 1
		if arity[flagName(arg)] && !strings.Contains(arg, "=") {
			n = 2
		}
		if n > len(rest) { // its value is missing: nothing else may be taken for it
			if to == &locals {
				globals = append(globals, words[0])
			}
			return slices.Concat(args[:1], globals, []string{arg})
		}
		*to, rest = append(*to, rest[:n]...), rest[n:]
	}
	out := append([]string{args[0]}, globals...)
	if len(words) == 0 {
		return append(out, locals...)
	}
	out = slices.Concat(out, words[:1], locals)
	if len(words) == 1 {
		return out
	}
	return slices.Concat(out, []string{"--"}, words[1:])
}

func flagName(arg string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return name
}

// commandFlags returns the options of the command of that name; an unknown one
// has none.
func commandFlags(app *cli.App, name string) map[string]bool {
	for _, c := range app.Commands {
		if c.HasName(name) {
			return flagArity(c.Flags)
		}
	}
	return map[string]bool{}
}

// flagArity tells of each option name whether a value follows.
func flagArity(flags []cli.Flag) map[string]bool {
	arity := map[string]bool{}
	for _, f := range flags {
		d, ok := f.(cli.DocGenerationFlag)
		for _, name := range f.Names() {
			arity[name] = ok && d.TakesValue()
		}
	}
	return arity
}
