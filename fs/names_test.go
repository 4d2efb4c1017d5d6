package fs

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEscapeSpells(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"web", "web"},
		{"Web", "Web"},
		{"a b", "a b"},
		{"a.b", "a.b"},
		{".", "%2E"},
		{"..", "%2E."},
		{".x", "%2Ex"},
		{"...", "%2E.."},
		{"a/b", "a%2Fb"},
		{"/", "%2F"},
		{"a\x00b", "a%00b"},
		{"a\nb\x7f", "a%0Ab%7F"},
		{"\u0085", "%C2%85"},
		{"%", "%25"},
		{"%2F", "%252F"},
		{"%~", "%25~"},
		{"é", "é"},
		{"e\u0301", "e\u0301"},
		{"\xff", "%FF"},
		{"a\xc3", "a%C3"},
		{"\ufffd", "\ufffd"},
		{"README.txt", "%52EADME.txt"},
		{"readme.txt", "readme.txt"},
		{"latest", "%6Catest"},
		{"Latest", "Latest"},
		{"version.json", "%76ersion.json"},
		{"files", "%66iles"},
		{strings.Repeat("a", 255), strings.Repeat("a", 255)},
	} {
		if got := Escape(c.name); got != c.want {
			t.Errorf("Escape(%q) = %q, want %q", c.name, got, c.want)
		}
		if got, err := Unescape(c.want); err != nil || got != c.name {
			t.Errorf("Unescape(%q) = %q, %v, want %q", c.want, got, err, c.name)
		}
	}
}

// Every name of one and of two bytes: a legal file name, and back.
func TestEscapeAllShortNames(t *testing.T) {
	seen := map[string]string{}
	check := func(name string) {
		file := Escape(name)
		if err := legal(file); err != "" {
			t.Fatalf("Escape(%q) = %q: %s", name, file, err)
		}
		if was, ok := seen[file]; ok {
			t.Fatalf("%q and %q are both %q", was, name, file)
		}
		seen[file] = name
		if back, err := Unescape(file); err != nil || back != name {
			t.Fatalf("Unescape(%q) = %q, %v, want %q", file, back, err, name)
		}
	}
	for a := range 256 {
		check(string([]byte{byte(a)}))
		for b := range 256 {
			check(string([]byte{byte(a), byte(b)}))
		}
	}
}

// legal says what is wrong with a file name, if anything.
func legal(file string) string {
	switch {
	case file == "" || len(file) > maxFileName:
		return "bad length"
	case !utf8.ValidString(file):
		return "not UTF-8"
	case file[0] == '.':
		return "leading dot"
	case strings.ContainsFunc(file, func(r rune) bool { return r == '/' || r < ' ' || r == 0x7f }):
		return "bad character"
	}
	for _, own := range ownNames {
		if file == own {
			return "the tree's own name"
		}
	}
	return ""
}

func TestUnescapeRefuses(t *testing.T) {
	for _, file := range []string{"", ".", "..", ".x", "%", "%2", "%2f", "%41", "%ZZ", "a%2", "README.txt", "latest", "version.json", "files", "a\x00", "a/b", "\xff", "%C3%A9", "%%"} {
		if name, err := Unescape(file); err == nil {
			t.Errorf("Unescape(%q) = %q, want an error", file, name)
		}
	}
	if _, err := Unescape(Escape(strings.Repeat("a", 256))); !errors.Is(err, ErrShortened) {
		t.Errorf("a shortened name gives %v, want ErrShortened", err)
	}
}

// Names around the limit, of units of every width: never too long, never cut
// inside a unit, distinct although they begin alike.
func TestEscapeShortens(t *testing.T) {
	for _, unit := range []string{"a", "é", "€", "😀", "/", "\xff", "%", "\u0085"} {
		width := len(Escape("x"+unit)) - 1
		for _, ext := range []string{"", ".raw", ".qcow2"} {
			limit := maxFileName - len(ext)
			for n := limit/width - 2; n <= limit/width+2; n++ {
				name := "x" + strings.Repeat(unit, n)
				file, other := FileName(name, ext), FileName(name+"y", ext)
				if err := legal(file); err != "" {
					t.Fatalf("%d of %q: %q: %s", n, unit, file, err)
				}
				if file == other {
					t.Fatalf("%d of %q and one more are both %q", n, unit, file)
				}
				short := strings.Contains(file, shortMark)
				if want := 1+n*width > limit; short != want {
					t.Fatalf("%d of %q with %q: shortened is %v, want %v", n, unit, ext, short, want)
				}
				if !short {
					if back, err := Unescape(strings.TrimSuffix(file, ext)); err != nil || back != name {
						t.Fatalf("Unescape(%q) = %q, %v", file, back, err)
					}
				}
				if again := FileName(name, ext); again != file {
					t.Fatalf("shortened differently: %q, %q", file, again)
				}
			}
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"web", "..", "a/b", "\xff\x00", "%~", "%2F", "latest", strings.Repeat("é", 200)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" {
			return
		}
		file := Escape(name)
		if err := legal(file); err != "" {
			t.Fatalf("Escape(%q) = %q: %s", name, file, err)
		}
		back, err := Unescape(file)
		if err != nil && !errors.Is(err, ErrShortened) || err == nil && back != name {
			t.Fatalf("Unescape(%q) = %q, %v, want %q", file, back, err, name)
		}
		// What Unescape takes, Escape writes.
		if plain, err := Unescape(name); err == nil && Escape(plain) != name {
			t.Fatalf("Unescape(%q) = %q, whose Escape is %q", name, plain, Escape(plain))
		}
	})
}

func TestEscapeRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	alphabet := []string{"%", "2", "F", "~", ".", "/", "a", "\x00", "\xff", "é", "\xc3", "%~"}
	for range 20000 {
		var name string
		for range 1 + rnd.IntN(8) {
			name += alphabet[rnd.IntN(len(alphabet))]
		}
		if back, err := Unescape(Escape(name)); err != nil || back != name {
			t.Fatalf("%q -> %q -> %q, %v", name, Escape(name), back, err)
		}
	}
}
