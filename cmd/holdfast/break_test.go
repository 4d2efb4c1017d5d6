package main

import (
	"encoding/binary"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/rogpeppe/go-internal/testscript"
)

// hurtIndex STORE drop|change chunk|pack takes an entry of a store's index away,
// or changes it: that of the largest chunk, which is data, or of some pack. The
// layout is that of package chunkstore.
func hurtIndex(ts *testscript.TestScript, _ bool, args []string) {
	db, err := pebble.Open(filepath.Join(ts.MkAbs(args[0]), "index"), &pebble.Options{Logger: silent{}})
	ts.Check(err)
	letter := args[2][0] // 'c' or 'p'
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{letter}, UpperBound: []byte{letter + 1}})
	ts.Check(err)
	var keys, values [][]byte
	for ok := it.First(); ok; ok = it.Next() {
		keys, values = append(keys, append([]byte(nil), it.Key()...)), append(values, append([]byte(nil), it.Value()...))
	}
	ts.Check(it.Close())
	if len(keys) == 0 {
		ts.Fatalf("the index has no %s", args[2])
	}
	at := 0
	for i, v := range values {
		if letter == 'c' && binary.LittleEndian.Uint32(v[12:]) > binary.LittleEndian.Uint32(values[at][12:]) {
			at = i
		}
	}
	key, value := keys[at], values[at]
	if args[1] == "drop" {
		err = db.Delete(key, pebble.Sync)
	} else {
		value[1]++ // of a pack: its records
		err = db.Set(key, value, pebble.Sync)
	}
	ts.Check(err)
	ts.Check(db.Close())
}

// losePack STORE deletes the store's largest pack.
func losePack(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.Remove(largestPack(ts, args[0])))
}

// silent is a logger of nothing.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, _ ...any) {
	panic(format)
}
