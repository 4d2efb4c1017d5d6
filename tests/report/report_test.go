package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const (
		okLine = `{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}` + "\n"
		passA  = `{"Action":"run","Package":"p","Test":"A"}` + "\n" + `{"Action":"pass","Package":"p","Test":"A"}` + "\n"
		skipB  = `{"Action":"run","Package":"p","Test":"B"}` + "\n" + `{"Action":"skip","Package":"p","Test":"B"}` + "\n"
		failC  = `{"Action":"run","Package":"p","Test":"C"}` + "\n" + `{"Action":"output","Package":"p","Test":"C","Output":"why\n"}` + "\n" +
			`{"Action":"fail","Package":"p","Test":"C"}` + "\n" + `{"Action":"fail","Package":"p"}` + "\n"
		sub = `{"Action":"run","Package":"p","Test":"D"}` + "\n" + `{"Action":"run","Package":"p","Test":"D/x"}` + "\n" +
			`{"Action":"pass","Package":"p","Test":"D/x"}` + "\n" + `{"Action":"pass","Package":"p","Test":"D"}` + "\n"
		hang = `{"Action":"run","Package":"p","Test":"E"}` + "\n" +
			`{"Action":"output","Package":"p","Output":"panic: test timed out\n"}` + "\n" + `{"Action":"fail","Package":"p"}` + "\n"
		build = `{"ImportPath":"p","Action":"build-output","Output":"syntax error\n"}` + "\n" +
			`{"ImportPath":"p","Action":"build-fail"}` + "\n"
	)
	for _, c := range []struct {
		name, stream, allowed string
		ok                    bool
		last                  string
		want                  string // somewhere in the output
	}{
		{"nothing ran", "", "", false, "0 passed, 0 failed", ""},
		{"pass", passA + okLine, "", true, "1 passed, 0 failed", "ok  \tp\t0.1s\n"},
		{"subtests count, parents do not", sub, "", true, "1 passed, 0 failed", ""},
		{"skip", passA + skipB, "# none\n", false, "1 passed, 1 failed, 1 skipped", "NOT ALLOWED: p B"},
		{"allowed skip", passA + skipB, "p  B # no tape drive\n", true, "1 passed, 0 failed, 1 skipped", "as allowed: p B"},
		{"fail", passA + failC, "", false, "1 passed, 1 failed", "p C:\n    why\n"},
		{"timeout", passA + hang, "", false, "1 passed, 1 failed", "panic: test timed out"},
		{"build failure", passA + build, "", false, "1 passed, 1 failed", "syntax error"},
		{"other text", "go: warning\n" + passA, "", true, "1 passed, 0 failed", "go: warning\n"},
		{"no newline at the end", strings.TrimSuffix(passA, "\n"), "", true, "1 passed, 0 failed", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			r := newReport(&out, parseAllowed(c.allowed))
			if err := r.read(strings.NewReader(c.stream)); err != nil {
				t.Fatal(err)
			}
			ok := r.finish()
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if ok != c.ok || lines[len(lines)-1] != c.last || !strings.Contains(out.String(), c.want) {
				t.Fatalf("ok %v, output:\n%s\nwant ok %v, last line %q, and %q", ok, out.String(), c.ok, c.last, c.want)
			}
		})
	}
}
