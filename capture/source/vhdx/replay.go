package vhdx

import (
	"fmt"

	"holdfast/capture/source"
	"holdfast/capture/source/vhd/layer"
)

const replayRemedy = "let Hyper-V replay the log by mounting the image once"

// replay returns the file as it is after its log was replayed: the file
// itself when the log is empty, else an overlay. The notice says what was
// done; the file is only read.
//
// A log GUID without any entry is what a crash leaves between the writing of
// the header and that of the first entry (qemu does it in this order): nothing
// was logged, so nothing was changed. The same holds for a crash within the
// first entry: what it logs is changed only when all of it is durable. Other
// entries of which none is complete are damage, as the specification has it.
func replay(f *source.File, h header) (bytes layer.Bytes, notice string, err error) {
	if h.log == (guid{}) {
		return f, "", nil
	}
	if h.logLen > maxLog {
		return nil, "", f.Unsupported(fmt.Sprintf("an unreplayed VHDX log of %d bytes", h.logLen), replayRemedy)
	}
	r := ring{file: f, span: span{h.logOff, h.logLen}, id: h.log}
	all, err := r.entries()
	if err != nil {
		return nil, "", err
	}
	if all.claimed == 0 || all.claimed == 1 && all.torn == 1 {
		return f, fmt.Sprintf("%s: was not closed cleanly, but its log is empty", f.Name()), nil
	}
	seq, err := r.activeSequence(all.valid)
	if err != nil {
		return nil, "", err
	}
	if len(seq) == 0 {
		return nil, "", f.Corrupt(h.logOff, "the log holds no complete sequence of entries")
	}
	head := seq[len(seq)-1]
	if f.Size() < head.flushed {
		return nil, "", f.Corrupt(f.Size(), "the log says that the file was at least %d bytes long, it has %d: the image is truncated", head.flushed, f.Size())
	}
	writes, err := r.writes(seq)
	if err != nil {
		return nil, "", err
	}
	notice = fmt.Sprintf("%s: was not closed cleanly; %d log entries with %d writes were replayed in memory", f.Name(), len(seq), len(writes))
	return newOverlay(f, writes, head.last), notice, nil
}
