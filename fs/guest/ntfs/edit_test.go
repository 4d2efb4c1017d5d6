package ntfs

import (
	"errors"
	"os"
	"testing"
)

func isError(err, want error) bool { return errors.Is(err, want) }

// protect puts an update sequence back on a record or page.
func protect(b []byte) {
	at, count := int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
	for i := 1; i < count; i++ {
		copy(b[at+2*i:], b[i*strideLen-2:][:2])
		copy(b[i*strideLen-2:], b[at:at+2])
	}
}

// edit changes a record of an image, with its update sequence taken off and put
// back.
func edit(t testing.TB, image string, number uint64, change func(record []byte)) {
	t.Helper()
	patch(t, image, placeOf(t, image, number), recordSizeOf(t, image), func(b []byte) {
		must(t, unprotect(b))
		change(b)
		protect(b)
	})
}

func openFS(t testing.TB, image string) *FS {
	t.Helper()
	f, err := os.Open(image)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	must(t, err)
	fs, err := Open(t.Context(), fileVolume{f, info.Size()})
	must(t, err)
	return fs
}

// fileVolume is a file as a volume.
type fileVolume struct {
	*os.File
	size int64
}

func (v fileVolume) Size() int64 { return v.size }

func recordSizeOf(t testing.TB, image string) int64 { return openFS(t, image).g.recordSize }

// placeOf gives the byte of an image at which a record lies.
func placeOf(t testing.TB, image string, number uint64) int64 {
	t.Helper()
	fs := openFS(t, image)
	off := int64(number) * fs.g.recordSize
	for _, r := range fs.table {
		if within := off - fs.g.place(r.start); within >= 0 && within < fs.g.place(r.count) {
			return fs.g.place(r.cluster) + within
		}
	}
	t.Fatalf("no record %d", number)
	return 0
}

// patch changes n bytes of an image.
func patch(t testing.TB, image string, off, n int64, change func(b []byte)) {
	t.Helper()
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	b := make([]byte, n)
	_, err = f.ReadAt(b, off)
	must(t, err)
	change(b)
	_, err = f.WriteAt(b, off)
	must(t, err)
}

// attributeAt finds an attribute in a record's bytes.
func attributeAt(t testing.TB, record []byte, kind uint32) []byte {
	t.Helper()
	for at := int(le.Uint16(record[20:])); le.Uint32(record[at:]) != attrEnd; at += int(le.Uint32(record[at+4:])) {
		if le.Uint32(record[at:]) == kind {
			return record[at : at+int(le.Uint32(record[at+4:]))]
		}
	}
	t.Fatalf("no attribute %#x", kind)
	return nil
}
