package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/chunkstore"
)

// TestUpgrade takes a store and its replica to the newest format. A replica of an
// older format takes nothing, and says what to do; what another process has open stays.
func TestUpgrade(t *testing.T) {
	for old := 1; old < chunkstore.FormatVersion; old++ {
		t.Run(fmt.Sprintf("from format %d", old), func(t *testing.T) { testUpgrade(t, old) })
	}
}

func testUpgrade(t *testing.T, old int) {
	p := &program{t, "", filepath.Join(t.TempDir(), "store")}
	var err error
	if p.bin, err = built(); err != nil {
		t.Fatal(err)
	}
	second := &program{t, p.bin, filepath.Join(t.TempDir(), "second")}
	made, err := chunkstore.Create(p.store, chunkstore.CreateOptions{Format: old})
	if err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(t.TempDir(), "vda.raw")
	if err := os.WriteFile(disk, fixtureBytes(1, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	p.must("capture", "--vm", "web", "--at", "2026-01-01T00:00:00Z", "vda="+disk)
	p.must("replica", "add", second.store)
	p.must("replicate")

	before := treeSums(t, p.store)["config.json"]
	would := fmt.Sprintf("would have format %d (had %d) and compression minlz (had %v)", chunkstore.FormatVersion, old, made.Compression)
	if out := p.must("upgrade", "--dry-run"); !strings.Contains(out, would) {
		t.Errorf("a dry run says %q", out)
	}
	m := p.mount()
	if out, err := p.run("upgrade"); err == nil || !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("beside a mount: %q, %v", out, err)
	}
	m.unmount()
	if got := treeSums(t, p.store)["config.json"]; got != before {
		t.Error("the configuration has changed")
	}
	if out := p.must("upgrade", "--json"); !strings.Contains(out, `"changed": true`) {
		t.Errorf("an upgrade says %s", out)
	}
	if out := p.must("upgrade"); !strings.Contains(out, "already") {
		t.Errorf("a second upgrade says %q", out)
	}

	if err := os.WriteFile(disk, fixtureBytes(2, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	p.must("capture", "--vm", "web", "--at", "2026-01-02T00:00:00Z", "vda="+disk)
	if out, err := p.run("replicate"); err == nil || !strings.Contains(err.Error(), "holdfast --store "+second.store+" upgrade") {
		t.Errorf("a replica of an older format: %q, %v", out, err)
	}
	if out := p.must("upgrade"); !strings.Contains(out, "holdfast --store "+second.store+" upgrade") {
		t.Errorf("an upgrade does not tell of the replica: %q", out)
	}
	if out := second.must("scrub", "--repair"); strings.Contains(out, "minlz") {
		t.Error(out)
	}
	second.must("upgrade")
	p.must("replicate")
	for _, of := range []*program{p, second} {
		of.must("scrub", "--deep")
		of.must("verify", "--deep", "--against", "vda="+disk, "web")
		of.must("verify", "--deep", "web@2026-01-01T00-00-00Z")
	}
	if out, err := p.run("upgrade", "--compression", "lz4"); err == nil || !strings.Contains(err.Error(), "exit status 2") {
		t.Errorf("an unknown compression: %q, %v", out, err)
	}
}
