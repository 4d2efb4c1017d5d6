package image

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestQcow2Layout tries every number of spans and grains around the places
// where another refcount block or table cluster becomes necessary.
func TestQcow2Layout(t *testing.T) {
	if qcow2Cluster != 1<<qcow2ClusterBits || qcow2Cluster*entriesOfSpan != int64(Span) {
		t.Fatal("an L2 table does not map a span")
	}
	var grains []int64
	for _, base := range []int64{0, qcow2RefsOfBlock, 2 * qcow2RefsOfBlock, qcow2RefsOfBlock * qcow2BlocksOfRef, 1 << 30} {
		for n := max(base-60, 0); n < base+60; n++ {
			grains = append(grains, n)
		}
	}
	for _, size := range []int64{1, 512, 512 * mib, 4 * tib, 64 * tib, maxQcow2} {
		for _, g := range grains {
			g = min(g, ceilDiv(size, int64(Grain)))
			for _, spans := range []int64{ceilDiv(g, entriesOfSpan), min(g, ceilDiv(size, int64(Span)))} {
				checkQcow2(t, layoutQcow2(size, spans, g), spans, g)
			}
		}
	}
}

func checkQcow2(t *testing.T, l qcow2Layout, spans, grains int64) {
	t.Helper()
	parts := []int64{0, l.refTableOff, l.refBlockOff, l.l1Off, l.l2Off, l.dataOff, l.size}
	needs := []int64{qcow2HeaderArea, l.refBlocks * 8, l.refBlocks * qcow2Cluster, l.l1Entries * 8, spans * qcow2Cluster, grains * qcow2Cluster}
	for i, need := range needs {
		if got := parts[i+1] - parts[i]; got != roundUp(need, qcow2Cluster) {
			t.Fatalf("part %d has %d bytes, needs %d: %+v", i, got, need, l)
		}
	}
	if l.size != l.clusters*qcow2Cluster || l.refBlocks*qcow2RefsOfBlock < l.clusters {
		t.Fatalf("%d refcount blocks for %d clusters: %+v", l.refBlocks, l.size/qcow2Cluster, l)
	}
	if (l.refBlocks-1)*qcow2RefsOfBlock >= l.clusters-1 {
		t.Fatalf("a refcount block too many: %+v", l)
	}
}

// TestVHDXSlots tries every entry of four chunks, and the table's length.
func TestVHDXSlots(t *testing.T) {
	slot := int64(0)
	for n := range 4*vhdxChunk + 3 {
		if n > 0 && n%2048 == 0 {
			if vhdxBlockAt(slot) != n {
				t.Fatalf("after bitmap entry %d comes block %d, want %d", slot, vhdxBlockAt(slot), n)
			}
			slot++ // the sector bitmap's
		}
		if vhdxSlot(n) != slot || vhdxBlockAt(slot) != n {
			t.Fatalf("block %d: slot %d, want %d; back: %d", n, vhdxSlot(n), slot, vhdxBlockAt(slot))
		}
		slot++
		// [MS-VHDX] 2.5: payload entries + floor((payload entries - 1) / chunk ratio)
		l := layoutVHDX((n+1)*vhdxBlock, 0)
		if want := n + 1 + n/2048; l.batEntries != want || l.batLen%vhdxMiB != 0 || l.batLen < 8*want {
			t.Fatalf("%d blocks: %+v", n+1, l)
		}
	}
}

// TestVHDLayout: every size in sectors up to some table sectors, and the end
// of the last block of the largest disk is within 32-bit sectors.
func TestVHDLayout(t *testing.T) {
	for blocks := int64(1); blocks < 600; blocks++ {
		for _, size := range []int64{(blocks-1)*vhdBlock + 1, blocks * vhdBlock} {
			l := layoutVHD(size, blocks)
			if l.blocks != blocks || l.batEnd%512 != 0 || l.batEnd < 1536+4*blocks || l.dataOff-l.batEnd >= 4096 || l.dataOff%4096 != 0 {
				t.Fatalf("%d bytes: %+v", size, l)
			}
			if l.footerOff != l.dataOff+blocks*(2*mib+4096) || l.size != l.footerOff+512 {
				t.Fatalf("%d bytes: %+v", size, l)
			}
		}
	}
	l := layoutVHD(maxVHD, maxVHD/vhdBlock)
	if last := int64(l.blockSector(l.blocks - 1)); last*512 != l.footerOff-2*mib-512 {
		t.Fatalf("the last block is at sector %d of %+v", last, l)
	}
}

// TestVMDKLayout: parts don't overlap and lie as the format wants them.
func TestVMDKLayout(t *testing.T) {
	for _, size := range []int64{1, 64 * kib, 32 * mib, 32*mib + 1, 512*mib - 1, 512 * mib, 512*mib + 1, 33 * gib, 64 * tib} {
		for spans := range min(40, ceilDiv(size, int64(Span))+1) {
			l := layoutVMDK(size, spans, spans*3)
			gd := ceilDiv(size, 32*mib) * 4
			ok := l.rgdOff >= vmdkDescriptorOff+vmdkDescriptorLen && l.rgtOff >= l.rgdOff+gd &&
				l.gdOff == l.rgtOff+spans*32*kib && l.gtOff >= l.gdOff+gd &&
				l.dataOff >= l.gtOff+spans*32*kib && l.size == l.dataOff+spans*3*64*kib
			if !ok || l.rgtOff%512 != 0 || l.gtOff%512 != 0 || l.dataOff%vmdkGrain != 0 {
				t.Fatalf("%d bytes, %d spans: %+v", size, spans, l)
			}
		}
	}
}

// TestAreas: the areas of every image ascend, don't overlap and end where its size
// says, which is known before they are made.
func TestAreas(t *testing.T) {
	disks := []Disk{newDisk(64*tib, random, 1), &patternDisk{size: 1900 * gib, period: 1}, &patternDisk{size: 5*gib + 3, period: 3}}
	for _, d := range smallDisks() {
		disks = append(disks, d)
	}
	for _, d := range disks {
		for _, f := range Formats() {
			if !Supports(f, d.Size(), d.Count(Grain)) {
				continue
			}
			img, end := makeImage(t, f, d).(*file), int64(0)
			if img.areas.Load() != nil {
				t.Fatalf("%s of %d: made before somebody looked inside", f, d.Size())
			}
			for i, a := range img.parts() {
				if a.start < end || a.end < a.start || a.end > img.size {
					t.Fatalf("%s of %d: area %d is [%d,%d) after %d in %d", f, d.Size(), i, a.start, a.end, end, img.size)
				}
				end = a.end
			}
			if end != img.size {
				t.Fatalf("%s of %d: ends at %d of %d", f, d.Size(), end, img.size)
			}
		}
	}
}

// TestVHDGeometry compares with what qemu-img writes. It grows a disk until
// its geometry holds it, so its geometry is that of its own size.
func TestVHDGeometry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "geometry.vhd")
	for _, size := range []int64{mib, 9 * mib, 32 * mib, 100 * mib, 505 * mib, 520 * mib, 1100 * mib, 5 * gib, 31 * gib, 33 * gib, 100 * gib, 127 * gib, 128 * gib, 200 * gib, 2000 * gib} {
		qemu(t, "qemu-img", "create", "-q", "-f", "vpc", path, fmt.Sprint(size))
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c, h, s := vhdGeometry(int64(binary.BigEndian.Uint64(p[48:]) / 512))
		if c != binary.BigEndian.Uint16(p[56:]) || h != p[58] || s != p[59] {
			t.Errorf("%d bytes: %d/%d/%d, qemu has %d/%d/%d", size, c, h, s, binary.BigEndian.Uint16(p[56:]), p[58], p[59])
		}
	}
	for sectors := int64(1); sectors < 1<<33; sectors += 1 + sectors/50 {
		c, h, s := vhdGeometry(sectors)
		if product := int64(c) * int64(h) * int64(s); product > sectors || h < 4 || h > 16 {
			t.Fatalf("%d sectors: %d/%d/%d", sectors, c, h, s)
		}
	}
}
