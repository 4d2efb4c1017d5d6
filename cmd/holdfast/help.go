package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

const appDescription = `One store holds the disks of any number of VMs, each piece of data once. Every
version of every disk is complete, and a mount shows each as a raw, qcow2, VHD,
VHDX and VMDK file.`

// appHelp is the text of holdfast --help.
var appHelp = `{{.Name}} - {{.Usage}}

{{.Description}}

USAGE:
   {{.UsageText}}

COMMANDS:{{range .VisibleCommands}}
   {{.Name}}{{"\t"}}{{.Usage}}{{end}}

OPTIONS (anywhere on the command line):{{range .VisibleFlags}}
   {{.}}{{end}}

EXAMPLES:
` + examples(`
holdfast init /srv/holdfast
export HOLDFAST_STORE=/srv/holdfast
holdfast capture --vm web /var/lib/libvirt/images/web.qcow2
holdfast list
holdfast mount /mnt/holdfast
`) + `
EXIT STATUS:
` + exitTable(allStatuses()) + `
Help on one command: holdfast COMMAND --help
`

// commandHelp is the text of holdfast COMMAND --help.
func commandHelp(example string, statuses ...exitStatus) string {
	return `{{.HelpName}} - {{.Usage}}

USAGE:
   {{.UsageText}}
{{if .Description}}
{{.Description}}
{{end}}{{if .VisibleFlags}}
OPTIONS:{{range .VisibleFlags}}
   {{.}}{{end}}
{{end}}
GLOBAL OPTIONS:
` + globalHelp() + `
EXAMPLES:
` + examples(example) + `
EXIT STATUS:
` + exitTable(statuses)
}

// Help fits a terminal of 80 columns.
const (
	helpWidth   = 78
	optionWidth = 50 // of what is said of an option
)

// optionText is one option in a list of them: its names, a tab, what it does.
// The library aligns the tabs, also those of lines that go on.
func optionText(f cli.Flag) string {
	d, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return ""
	}
	value, usage := placeholder(d.GetUsage())
	var names []string
	for _, n := range f.Names() {
		dashes := "--"
		if len(n) == 1 {
			dashes = "-"
		}
		names = append(names, dashes+n)
	}
	name := strings.Join(names, ", ")
	if d.TakesValue() {
		name += " " + value
		if def := strings.Trim(d.GetDefaultText(), `"`); def != "" && !strings.Contains(usage, "(default") {
			usage += " (default: " + def + ")"
		}
	}
	for _, env := range d.GetEnvVars() {
		usage += " [$" + env + "]"
	}
	return name + "\t" + strings.Join(fill(usage, optionWidth), "\n   \t")
}

// placeholder takes the word in backquotes out of an option's usage.
func placeholder(usage string) (value, text string) {
	parts := strings.SplitN(usage, "`", 3)
	if len(parts) < 3 {
		return "VALUE", usage
	}
	return parts[1], parts[0] + parts[1] + parts[2]
}

// fill breaks a text into lines of at most width columns.
func fill(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// fillText breaks the paragraphs of a text; lines that are indented stay.
func fillText(text string) string {
	var out []string
	for _, par := range strings.Split(strings.TrimSpace(text), "\n\n") {
		if strings.HasPrefix(par, " ") {
			out = append(out, par)
			continue
		}
		out = append(out, strings.Join(fill(par, helpWidth), "\n"))
	}
	return strings.Join(out, "\n\n")
}

// globalHelp lists the global options in the form of the others.
func globalHelp() string {
	var b strings.Builder
	for _, f := range globalFlags() {
		fmt.Fprintf(&b, "   %s\n", optionText(f))
	}
	return b.String()
}

func examples(text string) string {
	var b strings.Builder
	for _, line := range strings.Split(strings.Trim(text, "\n"), "\n") {
		b.WriteString(strings.TrimRight("   "+line, " ") + "\n")
	}
	return b.String()
}

func exitTable(statuses []exitStatus) string {
	var b strings.Builder
	for _, m := range exitMeanings {
		for _, s := range statuses {
			if s == m.status {
				lines := fill(m.meaning, helpWidth-8)
				fmt.Fprintf(&b, "   %-5d%s\n", m.status, strings.Join(lines, "\n        "))
			}
		}
	}
	return b.String()
}

func allStatuses() []exitStatus {
	var all []exitStatus
	for _, m := range exitMeanings {
		all = append(all, m.status)
	}
	return all
}
