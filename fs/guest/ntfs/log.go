package ntfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"holdfast/fs/guest"
)

// $LogFile begins with two restart pages, of which the newer one counts: "RSTR",
// update sequence as in records, 16 bytes of a system page 4, 24 offset of the
// restart area 2. The area: LSN 8, clients 2, 10 first free client 2, 12 first
// client in use 2, 14 flags 2.
const (
	restartMagic   = "RSTR"
	restartChecked = "CHKD" // chkdsk went over it
	restartArea    = 16     // what is read of it
	noClient       = 0xffff
	restartClean   = 0x2
	minPage        = 4096
	maxPage        = 64 << 10
)

// logState tells why what the volume shows may be stale; "" when the log holds
// nothing that is not done. Changes in it are not replayed here.
func (f *FS) logState(ctx context.Context) (string, error) {
	x, err := f.file(ctx, recordLog)
	if err != nil {
		return "", fmt.Errorf("$LogFile: %w", asDamage(err))
	}
	s, err := f.stream(ctx, x, attrData, "")
	if err != nil || s == nil || s.size < 2*minPage {
		return "", errors.Join(err, guest.Corrupt("$LogFile is too short"))
	}
	newest, clean, found, empty := uint64(0), false, false, true
	// The second page comes behind the first, whose length is known when it is
	// whole.
	places := []int64{0, minPage, 2 * minPage, 4 * minPage, 8 * minPage, maxPage}
	for i := 0; i < len(places); i++ {
		if places[i] > s.size-minPage {
			continue
		}
		page, err := f.restartPage(ctx, s, places[i])
		if err != nil {
			return "", err
		}
		empty = empty && bytes.Count(page, []byte{0xff}) == len(page)
		lsn, done, ok := parseRestart(page)
		if !ok {
			continue
		}
		if !found || lsn > newest {
			newest, clean, found = lsn, done, true
		}
		if i == 0 {
			places = []int64{0, int64(len(page))}
		}
	}
	switch {
	case empty, found && clean:
		return "", nil
	case found:
		return "its log ($LogFile) was open when the disk was copied: changes in it are not replayed", nil
	}
	return "its log ($LogFile) has no restart page", nil
}

// restartPage reads the page at a place, as long as it says it is.
func (f *FS) restartPage(ctx context.Context, s *stream, at int64) ([]byte, error) {
	page := make([]byte, minPage)
	if err := f.readStream(ctx, s, page, at); err != nil {
		return nil, err
	}
	size := int64(le.Uint32(page[16:]))
	if size != minPage && power(size, minPage, maxPage) && at <= s.size-size {
		page = make([]byte, size)
		return page, f.readStream(ctx, s, page, at)
	}
	return page, nil
}

// parseRestart reads a restart page, which it changes.
func parseRestart(page []byte) (lsn uint64, clean, ok bool) {
	if magic := string(page[:4]); magic != restartMagic && magic != restartChecked {
		return 0, false, false
	}
	if unprotect(page) != nil {
		return 0, false, false
	}
	at := int(le.Uint16(page[24:]))
	if at > len(page)-restartArea {
		return 0, false, false
	}
	area := page[at:]
	clean = le.Uint16(area[12:]) == noClient || le.Uint16(area[14:])&restartClean != 0
	return le.Uint64(area), clean, true
}

var hibernationFile = wide("hiberfil.sys")

// hibernated tells whether Windows sleeps: also after a shutdown, when it is to
// start fast. What it holds in memory is then newer than the volume.
func (f *FS) hibernated(ctx context.Context) (bool, error) {
	root, err := f.file(ctx, recordRoot)
	if err != nil {
		return false, err
	}
	ix, err := f.index(ctx, root, nameIndex)
	if err != nil {
		return false, err
	}
	_, ref, err := f.findFold(ctx, ix, []byte(hibernationFile))
	if errors.Is(err, guest.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	x, err := f.reference(ctx, ref)
	if err != nil {
		return false, asDamage(err)
	}
	s, err := f.stream(ctx, x, attrData, "")
	if err != nil || s == nil || s.size < 4 {
		return false, err
	}
	var magic [4]byte
	if err := f.readStream(ctx, s, magic[:], 0); err != nil {
		return false, err
	}
	return string(bytes.ToLower(magic[:])) == "hibr", nil
}
