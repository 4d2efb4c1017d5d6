package chunkstore

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func logOf(t testing.TB, s *Store) (events []Event, torn int) {
	t.Helper()
	torn, err := s.HealLog(func(e Event) error { events = append(events, e); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return events, torn
}

// TestHealLog: events come back in order, also after the index is gone and when
// a crash has torn the last line; what is reported survives a crash.
func TestHealLog(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := newStore(t, mem, 1<<20)
	for i := range 3 {
		if err := s.LogHeal(Event{Event: EventHealed, Chunk: fmt.Sprint(i), Donor: "parity"}, Event{Event: EventRepaired, Pack: "p"}); err != nil {
			t.Fatal(err)
		}
	}
	after := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := after.RemoveAll("/store/index"); err != nil {
		t.Fatal(err)
	}
	tear(t, after, `{"time":"2026-01-01T00:00:00Z","event":"hea`)
	s, err := Open("/store", Options{FS: after})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.LogHeal(Event{Event: EventServed, Chunk: "x"}); err != nil {
		t.Fatal(err)
	}
	events, torn := logOf(t, s)
	if len(events) != 7 || torn != 1 || events[4].Chunk != "2" || events[6].Event != EventServed || events[0].Time.IsZero() {
		t.Fatalf("%d torn, %+v", torn, events)
	}
	stop := errors.New("stop")
	if _, err := s.HealLog(func(Event) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("a reader that stops: %v", err)
	}
}

// tear writes bytes behind the log.
func tear(t testing.TB, fsys vfs.FS, text string) {
	t.Helper()
	f, err := fsys.OpenReadWrite("/store/log/heal.jsonl", "test")
	if err != nil {
		t.Fatal(err)
	}
	st, err := f.Stat()
	if err == nil {
		_, err = f.WriteAt([]byte(text), st.Size())
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestHealLogRotates: the log stays bounded, and what it keeps is the newest.
func TestHealLogRotates(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 1<<20)
	defer s.Close()
	const files = 6
	for i := range files {
		if err := s.LogHeal(Event{Event: EventHealed, Text: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
		tear(t, fsys, strings.Repeat(strings.Repeat("x", 1023)+"\n", maxLogFile/1024)) // full, of rubbish
	}
	if err := s.LogHeal(Event{Event: EventHealed, Text: fmt.Sprint(files)}); err != nil {
		t.Fatal(err)
	}
	events, torn := logOf(t, s)
	var texts []string
	for _, e := range events {
		texts = append(texts, e.Text)
	}
	if got := strings.Join(texts, " "); got != "3 4 5 6" || torn == 0 {
		t.Fatalf("events %q, %d lines torn", got, torn)
	}
	names, err := fsys.List("/store/log")
	if err != nil || len(names) != 1+oldLogFiles {
		t.Fatalf("files %q, %v", names, err)
	}
}

// TestReplicas are remembered in a file of their own; a damaged one keeps no
// store shut.
func TestReplicas(t *testing.T) {
	fsys := vfs.NewMem()
	s := newStore(t, fsys, 1<<20)
	for i, want := range []int{1, 2, 2, 2} {
		r := Replica{Path: fmt.Sprint("/r", i%2), StoreID: fmt.Sprint("id", min(i, 2)%2), Origin: i == 3}
		if err := s.AddReplica(r); err != nil {
			t.Fatal(err)
		}
		if all, err := s.Replicas(); err != nil || len(all) > want || all[len(all)-1].Path != r.Path {
			t.Fatalf("after %d: %+v, %v", i, all, err)
		}
	}
	if err := s.RemoveReplica("/nowhere"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("remove of what is not there: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := fsys.RemoveAll("/store/index"); err != nil {
		t.Fatal(err)
	}
	made := 0
	s, err := Open("/store", Options{FS: fsys, Donor: func(Replica) Donor { made++; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := s.Replicas(); err != nil || len(all) == 0 || made != len(all) {
		t.Fatalf("%+v, %v, %d donors", all, err, made)
	}
	if err := errors.Join(writeFileDurably(fsys, "/store", replicasName, []byte("{rubbish")), s.AddReplica(Replica{})); err == nil {
		t.Fatal("a damaged list was written over")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err = Open("/store", Options{FS: fsys})
	if err != nil {
		t.Fatalf("a damaged list of replicas keeps the store shut: %v", err)
	}
	s.Close()
}

// FuzzHealLog: no log makes a reader fail or a writer tear what is there.
func FuzzHealLog(f *testing.F) {
	f.Add([]byte(""))
	f.Add([]byte("\n\n"))
	f.Add([]byte(`{"event":"healed"}`))
	f.Add([]byte("{\"event\":\"healed\",\"chunk\":\"a\"}\nrubbish"))
	f.Add([]byte(strings.Repeat("x", 3*maxLogLine)))
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys := vfs.NewMem()
		s := newStore(t, fsys, 1<<20)
		defer s.Close()
		if err := s.LogHeal(Event{Event: EventServed, Chunk: "first"}); err != nil {
			t.Fatal(err)
		}
		if len(b) > 0 {
			tear(t, fsys, string(b))
		}
		if err := s.LogHeal(Event{Event: EventServed, Chunk: "last"}); err != nil {
			t.Fatal(err)
		}
		events, _ := logOf(t, s)
		if len(events) < 2 || events[0].Chunk != "first" || events[len(events)-1].Chunk != "last" {
			t.Fatalf("%+v", events)
		}
	})
}
