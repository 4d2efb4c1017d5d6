package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"
)

// event is one line of go test -json (go doc test2json, go help buildjson).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build events, in place of Package
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

// result is a test that came to its end.
type result struct {
	name    string // package, space, test
	elapsed float64
}

// report sums a stream of events up. It is not safe for concurrent use.
type report struct {
	w       io.Writer
	allowed map[string]bool     // names of tests that may be skipped
	output  map[string][]string // what each unfinished test printed, by name
	parents map[string]bool     // tests with subtests: they are not counted
	done    map[string][]result // by action: pass, fail, skip
	broken  map[string]bool     // packages that failed
}

func newReport(w io.Writer, allowed map[string]bool) *report {
	return &report{w: w, allowed: allowed, output: map[string][]string{},
		parents: map[string]bool{}, done: map[string][]result{}, broken: map[string]bool{}}
}

// parseAllowed reads one name a line; # begins a comment.
func parseAllowed(text string) map[string]bool {
	allowed := map[string]bool{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if name := strings.Join(strings.Fields(line), " "); name != "" {
			allowed[name] = true
		}
	}
	return allowed
}

// read takes the whole stream in and prints each package's line as it comes.
// A line that is not an event, such as one of the go command's own, is printed
// as it is.
func (r *report) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				r.take(e)
			} else {
				fmt.Fprintf(r.w, "%s", line)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) take(e event) {
	switch {
	case e.Action == "build-output":
		fmt.Fprint(r.w, e.Output)
	case e.Action == "build-fail":
		r.broken[e.ImportPath] = true
	case e.Test != "":
		r.takeTest(e)
	case e.Action == "output":
		r.takePackageOutput(e)
	case e.Action == "fail":
		r.flush(e.Package) // a panic or a timeout leaves tests unfinished
		r.broken[e.Package] = true
	}
}

// takePackageOutput keeps the line that ends a package and what a package
// prints outside of its tests when it fails.
func (r *report) takePackageOutput(e event) {
	for _, prefix := range []string{"ok  \t", "FAIL\t", "?   \t", "---"} {
		if strings.HasPrefix(e.Output, prefix) {
			fmt.Fprint(r.w, e.Output)
			return
		}
	}
	if e.Output != "PASS\n" && e.Output != "FAIL\n" {
		r.output[e.Package+" "] = append(r.output[e.Package+" "], e.Output)
	}
}

func (r *report) takeTest(e event) {
	name := e.Package + " " + e.Test
	switch e.Action {
	case "run":
		if i := strings.LastIndexByte(e.Test, '/'); i >= 0 {
			r.parents[e.Package+" "+e.Test[:i]] = true
		}
		r.output[name] = nil
	case "output":
		if !strings.HasPrefix(e.Output, "=== ") {
			r.output[name] = append(r.output[name], e.Output)
		}
	case "fail":
		r.print(name)
		fallthrough
	case "pass", "skip":
		r.done[e.Action] = append(r.done[e.Action], result{name, e.Elapsed})
		delete(r.output, name)
	}
}

func (r *report) print(name string) {
	fmt.Fprintf(r.w, "%s:\n", strings.TrimSpace(name))
	for _, line := range r.output[name] {
		fmt.Fprint(r.w, "    ", line)
	}
}

// flush prints what is left of a failed package: tests that never ended count
// as failed.
func (r *report) flush(pkg string) {
	var names []string
	for name := range r.output {
		if strings.HasPrefix(name, pkg+" ") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		r.print(name)
		if name != pkg+" " {
			r.done["fail"] = append(r.done["fail"], result{name: name})
		}
		delete(r.output, name)
	}
}

// finish prints the summary and tells whether all is well.
func (r *report) finish() bool {
	r.printSlowest(10)
	refused := r.printSkips()
	for _, name := range slices.Sorted(maps.Keys(r.broken)) {
		fmt.Fprintln(r.w, "failed package:", name)
	}
	passed, failed := r.count("pass"), r.count("fail")+refused
	if failed == 0 && len(r.broken) > 0 {
		failed = len(r.broken)
	}
	fmt.Fprintf(r.w, "%d passed, %d failed", passed, failed)
	if skipped := r.count("skip"); skipped > 0 {
		fmt.Fprintf(r.w, ", %d skipped", skipped)
	}
	fmt.Fprintln(r.w)
	return failed == 0 && passed > 0
}

// count counts tests without those that only hold subtests.
func (r *report) count(action string) (n int) {
	for _, res := range r.done[action] {
		if !r.parents[res.name] {
			n++
		}
	}
	return n
}

func (r *report) printSlowest(n int) {
	var all []result
	for _, res := range r.done["pass"] {
		if !r.parents[res.name] {
			all = append(all, res)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].elapsed > all[j].elapsed })
	for i, res := range all[:min(n, len(all))] {
		if i == 0 {
			fmt.Fprintln(r.w, "slowest tests:")
		}
		fmt.Fprintf(r.w, "%8.1f s  %s\n", res.elapsed, res.name)
	}
}

// printSkips prints every skip and returns how many are not allowed.
func (r *report) printSkips() (refused int) {
	for _, res := range r.done["skip"] {
		verdict := "skipped, as allowed:"
		if !r.allowed[res.name] {
			verdict = "skipped, NOT ALLOWED:"
			refused++
		}
		fmt.Fprintln(r.w, verdict, res.name)
	}
	return refused
}
