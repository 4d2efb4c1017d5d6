package chunkstore

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The log of what heals did is made of lines of JSON in log/heal.jsonl. Lines
// are only appended, and synced before the heal is reported. A full file becomes
// heal.1.jsonl, that one heal.2.jsonl, and so on; the oldest goes.
const (
	logDir      = "log"
	logName     = "heal.jsonl"
	maxLogFile  = 16 << 20
	oldLogFiles = 3
	maxLogLine  = 64 << 10
	// servedAgain is how much time passes before a chunk that is read by a
	// donor's help is logged again.
	servedAgain = time.Hour
	maxServed   = 4096
)

// What an event says.
const (
	EventHealed      = "healed"      // a chunk came back, durably
	EventServed      = "served"      // a read was answered by help; nothing was stored
	EventRepaired    = "repaired"    // a new pack took a damaged one's place
	EventQuarantined = "quarantined" // the old pack was moved away
)

// Event is one line of the log of heals.
type Event struct {
	Time   time.Time `json:"time"`
	Event  string    `json:"event"`
	Chunk  string    `json:"chunk,omitempty"`
	Kind   string    `json:"kind,omitempty"`   // of the damage
	Pack   string    `json:"pack,omitempty"`   // where the damage is
	Offset int64     `json:"offset,omitempty"` // of the record in the pack
	Donor  string    `json:"donor,omitempty"`  // what brought it back
	New    string    `json:"new_pack,omitempty"`
	Kept   int       `json:"kept,omitempty"`   // records that went along
	Healed int       `json:"healed,omitempty"` // records that came back
	Lost   int       `json:"lost,omitempty"`   // chunks that did not
	To     string    `json:"to,omitempty"`     // where a pack is now
	Text   string    `json:"text,omitempty"`
}

// healLog appends to the log.
type healLog struct {
	mu     sync.Mutex // guards what follows, and the file
	served map[ID]time.Time
	heals  map[ID]bool // chunks that a heal is about to store
}

func packHex(n uint64) string { return fmt.Sprintf("%016x", n) }

// LogHeal appends events, durably, with the time where they have none.
func (s *Store) LogHeal(events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	var b bytes.Buffer
	now := time.Now().UTC().Truncate(time.Second)
	for _, e := range events {
		if e.Time.IsZero() {
			e.Time = now
		}
		e.Text = e.Text[:min(len(e.Text), maxTried)]
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("log a heal: %w", err)
		}
		b.Write(append(line, '\n'))
	}
	s.healLog.mu.Lock()
	defer s.healLog.mu.Unlock()
	if err := s.appendLog(b.Bytes()); err != nil {
		return fmt.Errorf("log a heal: %w", err)
	}
	return nil
}

// noteEvent is LogHeal where the work must not fail with its log.
func (s *Store) noteEvent(events ...Event) {
	if err := s.LogHeal(events...); err != nil {
		s.log.Error("a heal could not be logged", "err", err)
	}
}

// appendLog writes whole lines behind what is there. The caller holds the
// log's lock.
func (s *Store) appendLog(lines []byte) error {
	dir := s.fs.PathJoin(s.dir, logDir)
	path := s.fs.PathJoin(dir, logName)
	st, err := s.fs.Stat(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err != nil && !fresh {
		return err
	}
	if fresh {
		if err := makeDirDurably(s.fs, dir); err != nil {
			return err
		}
	} else if st.Size() >= maxLogFile {
		if err := s.rotateLog(dir); err != nil {
			return err
		}
		fresh = true
	}
	f, err := s.fs.OpenReadWrite(path, "holdfast-log")
	if err != nil {
		return err
	}
	err = appendLines(f, lines)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil && fresh {
		err = syncDir(s.fs, dir)
	}
	return err
}

// appendLines ends a line that a crash has torn, then appends.
func appendLines(f vfs.File, lines []byte) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	end := st.Size()
	var last [1]byte
	if end > 0 {
		if _, err := f.ReadAt(last[:], end-1); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if last[0] != '\n' {
			lines = append([]byte{'\n'}, lines...)
		}
	}
	n, err := f.WriteAt(lines, end)
	if err == nil && n < len(lines) {
		err = io.ErrShortWrite
	}
	return err
}

func oldLog(n int) string {
	if n == 0 {
		return logName
	}
	return fmt.Sprintf("heal.%d.jsonl", n)
}

func (s *Store) rotateLog(dir string) error {
	for n := oldLogFiles - 1; n >= 0; n-- {
		err := s.fs.Rename(s.fs.PathJoin(dir, oldLog(n)), s.fs.PathJoin(dir, oldLog(n+1)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncDir(s.fs, dir)
}

// HealLog calls fn for each event in the log, the oldest first, and returns how
// many lines could not be understood: a crash tears at most the last one of a
// write. fn may use the store.
func (s *Store) HealLog(fn func(Event) error) (torn int, err error) {
	for n := oldLogFiles; n >= 0; n-- {
		t, err := s.readLog(oldLog(n), fn)
		torn += t
		if err != nil {
			return torn, fmt.Errorf("read the log of heals: %w", err)
		}
	}
	return torn, nil
}

func (s *Store) readLog(name string, fn func(Event) error) (torn int, err error) {
	f, err := s.fs.Open(s.fs.PathJoin(s.dir, logDir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, maxLogLine)
	for {
		line, err := in.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) { // no line of ours: to its end
			_, err = in.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return torn, err
		}
		var e Event
		switch line = bytes.TrimSpace(line); {
		case long, len(line) > 0 && (json.Unmarshal(line, &e) != nil || e.Event == ""):
			torn++
		case len(line) > 0:
			if err := fn(e); err != nil {
				return torn, err
			}
		}
		if err != nil {
			return torn, nil
		}
	}
}

// logServed logs that a read was answered by a donor's help, now and then.
func (s *Store) logServed(id ID, donor string) {
	s.healLog.mu.Lock()
	again := time.Since(s.healLog.served[id]) < servedAgain || len(s.healLog.served) >= maxServed
	if !again {
		if s.healLog.served == nil {
			s.healLog.served = map[ID]time.Time{}
		}
		s.healLog.served[id] = time.Now()
	}
	s.healLog.mu.Unlock()
	if !again {
		s.noteEvent(Event{Event: EventServed, Chunk: id.String(), Donor: donor})
	}
}

// expectHeal says that a heal stores these chunks, so that their coming back is
// not taken for a capture's work, and returns how to end that.
func (s *Store) expectHeal(ids []ID) func() {
	s.healLog.mu.Lock()
	defer s.healLog.mu.Unlock()
	if s.healLog.heals == nil {
		s.healLog.heals = map[ID]bool{}
	}
	for _, id := range ids {
		s.healLog.heals[id] = true
	}
	return func() {
		s.healLog.mu.Lock()
		defer s.healLog.mu.Unlock()
		for _, id := range ids {
			delete(s.healLog.heals, id)
		}
	}
}

// logStored logs the damaged chunks that came back with a pack and that no heal
// stored: a capture brought the same content.
func (s *Store) logStored(pack uint64, ids []ID) {
	var events []Event
	s.healLog.mu.Lock()
	for _, id := range ids {
		if !s.healLog.heals[id] {
			events = append(events, Event{Event: EventHealed, Chunk: id.String(), New: packHex(pack), Donor: "capture"})
		}
	}
	s.healLog.mu.Unlock()
	if len(events) > 0 {
		s.noteEvent(events...)
	}
}
