package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSizeText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1 MiB", 1 << 20: "1 MiB",
		96 << 20: "96 MiB", 10<<30 + 1<<28: "10.2 GiB", 1 << 40: "1 TiB", -2048: "-2 KiB", 1<<63 - 1: "8 EiB",
	} {
		if got := sizeText(n); got != want {
			t.Errorf("sizeText(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"64MiB": 64 << 20, "1G": 1 << 30, "4096": 4096, "1.5KiB": 1536, "0": 0} {
		if got, err := parseSize("cache", s); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "x", "-1", "-5MiB", "1XiB"} {
		if _, err := parseSize("cache", s); err == nil {
			t.Errorf("parseSize(%q) is no error", s)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -999: "-999"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
}

// Names come from hostile images and stores: nothing may reach the terminal.
func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"web": "web", "büro 東": "büro 東", "a\x1b[2Jb": `a\x1b[2Jb`, "a\nb": `a\nb`, "\xff\xfe": `\xff\xfe`,
		"a\u202eb": `a\u202eb`, "a\u200bb": `a\u200bb`, "tab\tbed": "tab bed",
	} {
		if got := printable(s); got != want {
			t.Errorf("printable(%q) = %q, want %q", s, got, want)
		}
	}
	if got := oneLine("first\nsecond \x07\n"); got != `first; second \a` {
		t.Errorf("oneLine = %q", got)
	}
	for name, want := range map[string]string{"web": "web", "": `""`, " x": `" x"`, "a\nb": `"a\nb"`} {
		if got := nameText(name); got != want {
			t.Errorf("nameText(%q) = %s, want %s", name, got, want)
		}
	}
}

func TestShellWord(t *testing.T) {
	for s, want := range map[string]string{"a/b-c.raw": "a/b-c.raw", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'"} {
		if got := shellWord(s); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", s, got, want)
		}
	}
}

// Options may stand anywhere; what follows -- stays.
func TestPermute(t *testing.T) {
	app := newApp(io.Discard, &console{w: io.Discard}, nil)
	for line, want := range map[string]string{
		"holdfast":                                    "holdfast",
		"holdfast list":                               "holdfast list",
		"holdfast list web --store S":                 "holdfast --store S list -- web",
		"holdfast --store=S list web":                 "holdfast --store=S list -- web",
		"holdfast restore web --format qcow2 out":     "holdfast restore --format qcow2 -- web out",
		"holdfast restore web --json - --overwrite":   "holdfast --json restore --overwrite -- web -",
		"holdfast boot web -- -m 1G --json":           "holdfast boot -- web -m 1G --json",
		"holdfast capture a=b --vm x -q":              "holdfast -q capture --vm x -- a=b",
		"holdfast capture a=b --vm":                   "holdfast capture --vm",
		"holdfast list --store":                       "holdfast --store",
		"holdfast --nonsense list":                    "holdfast --nonsense list",
		"holdfast show --store S " + completionFlag:   "holdfast --store S show " + completionFlag,
		"holdfast restore web --fo " + completionFlag: "holdfast restore web " + completionFlag,
		"holdfast unknown --vm x --store S":           "holdfast --store S unknown --vm -- x",
	} {
		if got := strings.Join(permute(app, strings.Fields(line)), " "); got != want {
			t.Errorf("permute(%s)\n got %s\nwant %s", line, got, want)
		}
	}
}

func TestParseDisks(t *testing.T) {
	got, err := parseDisks([]string{"/img/web.qcow2", "vda=/img/x=y.raw", "./a=b.img", "/dev/vg0/data", ".raw", "x.tar"})
	want := []namedPath{{"web", "/img/web.qcow2"}, {"vda", "/img/x=y.raw"}, {"a=b", "./a=b.img"}, {"data", "/dev/vg0/data"}, {".raw", ".raw"}, {"x.tar", "x.tar"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("parseDisks = %q, %v, want %q", got, err, want)
	}
	for _, args := range [][]string{{"vda="}, {""}, {"a.raw", "b/a.raw"}} {
		if _, err := parseDisks(args); err == nil {
			t.Errorf("parseDisks(%q) is no error", args)
		}
	}
}

func TestParseMountHelper(t *testing.T) {
	opts, fake, err := parseMountHelper(strings.Fields("-sn /s /m -o rw,allow_other,cache=1MiB,fill=0,x-a.b=c,strange -tfuse.holdfast -N 7"))
	if err != nil || fake || opts.Store != "/s" || opts.Dir != "/m" || !opts.AllowOther || opts.Cache != 1<<20 || opts.Fill != -1 || !opts.Background {
		t.Errorf("parseMountHelper = %+v, %v, %v", opts, fake, err)
	}
	for _, line := range []string{"", "/s", "/s /m /x", "/s /m -o strange", "/s /m -z", "/s /m -o cache=x"} {
		if _, _, err := parseMountHelper(strings.Fields(line)); err == nil {
			t.Errorf("parseMountHelper(%s) is no error", line)
		}
	}
}

// A panic becomes one line, and its trace a file.
func TestGuard(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	err := guard(func() error { panic("index out of luck") })
	if err == nil || statusOf(context.Background(), err) != exitFailure {
		t.Fatalf("guard: %v", err)
	}
	var b bytes.Buffer
	report(&console{w: &b}, err, exitFailure)
	text := b.String()
	if !strings.Contains(text, "this is a bug in holdfast") || strings.Contains(text, "goroutine") {
		t.Errorf("reported: %s", text)
	}
	_, file, _ := strings.Cut(text, "with this file: ")
	trace, rerr := os.ReadFile(strings.TrimSpace(file))
	if rerr != nil || !strings.Contains(string(trace), "index out of luck") || !strings.Contains(string(trace), "TestGuard") {
		t.Errorf("trace %q: %v\n%s", file, rerr, trace)
	}
}

// Without a terminal there is a line at each interval, and none where quiet is
// wanted.
func TestProgressLines(t *testing.T) {
	synctest.Test(t, progressLines)
}

func progressLines(t *testing.T) {
	var b bytes.Buffer
	g := gauge{what: "capturing web", bytes: func() (int64, int64) { return 1 << 30, 4 << 30 }, moved: func() int64 { return 1 << 20 }}
	for _, quiet := range []bool{false, true} {
		con := &console{w: &b, quiet: quiet}
		stop := make(chan struct{})
		time.AfterFunc(35*time.Millisecond, func() { close(stop) })
		con.follow(g, 10*time.Millisecond, stop)
		first, _, _ := strings.Cut(b.String(), "\n")
		if n := strings.Count(b.String(), "\n"); !quiet && n != 3 {
			t.Errorf("%d lines in three intervals and a half", n)
		}
		if want := "holdfast: capturing web: 25 %, 1 GiB of 4 GiB, "; !quiet && (!strings.HasPrefix(first, want) || !strings.HasSuffix(first, " left")) {
			t.Errorf("printed %q, want %q...", first, want)
		}
		if quiet && b.Len() > 0 {
			t.Errorf("quiet printed %q", b.String())
		}
		b.Reset()
	}
}

// A total that is not known yet is not made up, nor is a share of it or a time left; and
// what was done beyond it is not more than all.
func TestProgressOfAnUnknownTotal(t *testing.T) {
	for _, c := range []struct {
		done, total   int64
		percent, want string
	}{
		{1 << 30, 0, "", "1 GiB, 1 MiB/s"},
		{1 << 30, 2 << 30, "50 %, ", "1 GiB of 2 GiB, 1 MiB/s, 10s left"},
		{3 << 30, 2 << 30, "100 %, ", "3 GiB of 2 GiB, 1 MiB/s"},
	} {
		if p, w := percentText(c.done, c.total), progressWords(c.done, c.total, 1<<20, 10*time.Second); p != c.percent || w != c.want {
			t.Errorf("%d of %d: %q, %q, want %q, %q", c.done, c.total, p, w, c.percent, c.want)
		}
	}
}

func TestMeter(t *testing.T) {
	m := meter{interval: time.Second}
	for i, want := range []int64{100, 100, 100, 150, 10} {
		if got := m.add([]int64{100, 200, 300, 550, 10}[i]); got != want {
			t.Errorf("rate %d = %d, want %d", i, got, want)
		}
	}
}

func TestLogLines(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(&logHandler{con: &console{w: &b}, level: slog.LevelWarn}).With("mount", "/mnt")
	log.Info("not shown")
	log.WithGroup("g").Warn("in use", "by", "bash 7", "err", errors.New("a\nb"), "do", "close it")
	want := "holdfast: warning: in use (mount=/mnt g.by=\"bash 7\" g.err=\"a; b\")\nhint: close it\n"
	if b.String() != want {
		t.Errorf("logged %q, want %q", b.String(), want)
	}
}

func TestReadsRunning(t *testing.T) {
	hello := `{"QMP": {"version": {}, "capabilities": []}}` + "\n" + `{"return": {}}` + "\n"
	for answer, want := range map[string]bool{
		`{"return": {"status": "running", "running": true}}`:         true,
		`{"return": {"status": "internal-error", "running": false}}`: false,
		`rubbish`: false,
		``:        false,
	} {
		if got := readsRunning(strings.NewReader(hello + answer + "\n")); got != want {
			t.Errorf("%s: %v, want %v", answer, got, want)
		}
	}
}
