package blake

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"
)

// want is the hash by zeebo/blake3, the judge.
func want(key, message []byte) (sum [sumLen]byte) {
	h := blake3.New()
	if key != nil {
		h, _ = blake3.NewKeyed(key)
	}
	h.Write(message)
	h.Sum(sum[:0])
	return sum
}

// kernels are what a hasher can work with here. Without AVX-512 the assembly
// is not among them; the rest then is the same.
func kernels() []kernel {
	if hasLanes() {
		return []kernel{none, portable, assembly}
	}
	return []kernel{none, portable}
}

func (k kernel) String() string { return [...]string{"none", "portable", "assembly"}[k] }

// pattern is what the official test vectors hash.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

var testKey = []byte("whats the Elvish word for friend")

// eachHasher runs a test with every kernel, with a key and without.
func eachHasher(t *testing.T, run func(t *testing.T, h *Hasher, key []byte)) {
	for _, k := range kernels() {
		for _, key := range [][]byte{nil, testKey} {
			t.Run(fmt.Sprintf("%v/keyed=%v", k, key != nil), func(t *testing.T) { run(t, newHasher(key, k), key) })
		}
	}
}

// borders are lengths around the ends of blocks, chunks and passes.
func borders() (list []int) {
	for n := range 3 * blockLen {
		list = append(list, n)
	}
	for n := blockLen; n <= 4*chunkLen; n += blockLen {
		list = append(list, n-1, n, n+1)
	}
	for n := chunkLen; n <= 70*chunkLen; n += chunkLen {
		list = append(list, n-1, n, n+1)
	}
	return append(list, maxChunks*chunkLen-1, maxChunks*chunkLen, maxChunks*chunkLen+1)
}

func TestSumOfEveryBorder(t *testing.T) {
	all := pattern(maxChunks*chunkLen + 1)
	eachHasher(t, func(t *testing.T, h *Hasher, key []byte) {
		for _, n := range borders() {
			if got := h.Sum(all[:n]); got != want(key, all[:n]) {
				t.Fatalf("%d bytes: %x", n, got)
			}
		}
	})
}

// TestSumOfParts: where a message is cut into parts says nothing about its hash.
func TestSumOfParts(t *testing.T) {
	all := pattern(40 * chunkLen)
	eachHasher(t, func(t *testing.T, h *Hasher, key []byte) {
		r := rand.New(rand.NewPCG(1, 2))
		for range 100 {
			from := r.IntN(200) // unaligned, too
			message := all[from : from+r.IntN(len(all)-from)]
			var parts [][]byte
			for rest := message; len(rest) > 0; {
				n := min(len(rest), r.IntN(1<<r.IntN(16)))
				parts, rest = append(parts, rest[:n]), rest[n:]
			}
			if h.Sum(parts...) != want(key, message) {
				t.Fatalf("%d bytes in %d parts", len(message), len(parts))
			}
		}
	})
}

// TestSumMany: messages do not touch each other, however many, short or long.
func TestSumMany(t *testing.T) {
	all := pattern((maxChunks + 2) * chunkLen)
	eachHasher(t, func(t *testing.T, h *Hasher, key []byte) {
		r := rand.New(rand.NewPCG(3, 4))
		for round := range 20 {
			bits := []int{6, 10, 11, 14, 16}[round%5]
			messages := make([]Message, r.IntN(40))
			for i := range messages {
				n, from := r.IntN(1<<bits), r.IntN(5000)
				cut := r.IntN(n + 1)
				messages[i] = Message{all[from : from+cut], all[from+cut : from+n]}
			}
			if len(messages) > 2 {
				messages[1] = Message{all[:(maxChunks-1+round%3)*chunkLen+round%2]}
				messages[2] = Message{}
			}
			checkMany(t, h, key, messages)
		}
	})
}

// TestSumManyOfEqual: passes that are filled to the last lane, and by one more.
func TestSumManyOfEqual(t *testing.T) {
	all := pattern(70 * chunkLen)
	eachHasher(t, func(t *testing.T, h *Hasher, key []byte) {
		for _, n := range []int{0, 1, blockLen, chunkLen - 1, chunkLen, chunkLen + 1, 4 * chunkLen, 16*chunkLen + 33} {
			for count := range 35 {
				messages := make([]Message, count)
				for i := range messages {
					messages[i][0] = all[i : i+n]
				}
				checkMany(t, h, key, messages)
			}
		}
	})
}

func checkMany(t *testing.T, h *Hasher, key []byte, messages []Message) {
	t.Helper()
	sums := make([][sumLen]byte, len(messages))
	SumMany(h, sums, messages)
	for i, m := range messages {
		if sums[i] != want(key, bytes.Join(m[:], nil)) {
			t.Fatalf("message %d of %d, of %d + %d bytes", i, len(messages), len(m[0]), len(m[1]))
		}
	}
}

// TestSumAtOnce: one hasher serves many goroutines.
func TestSumAtOnce(t *testing.T) {
	all := pattern(40 * chunkLen)
	eachHasher(t, func(t *testing.T, h *Hasher, key []byte) {
		var wait sync.WaitGroup
		for g := range 8 {
			wait.Go(func() {
				for i := range 50 {
					m := all[g*17 : g*17+i*700]
					if h.Sum(m) != want(key, m) {
						t.Errorf("%d bytes", len(m))
					}
					sums := make([][sumLen]byte, 3)
					SumMany(h, sums, []Message{{m}, {m[:i]}, {m[i:], m[:i]}})
					if sums[0] != want(key, m) || sums[1] != want(key, m[:i]) || sums[2] != want(key, append(m[i:len(m):len(m)], m[:i]...)) {
						t.Errorf("%d bytes, many", len(m))
					}
				}
			})
		}
		wait.Wait()
	})
}

// TestForgets: what was hashed is not held by what lies in the pool.
func TestForgets(t *testing.T) {
	h, b := newHasher(nil, portable), new(batch)
	b.fill(h, []Message{{pattern(20 * chunkLen)}, {pattern(5*chunkLen + 7)}}, &wants{})
	for i := range width {
		if b.full.in[i] != nil || b.short.in[i] != nil {
			t.Errorf("lane %d still has its input", i)
		}
	}
}

// guarded returns size bytes of pattern, whole pages, between pages that cannot be read.
func guarded(t *testing.T, size int) []byte {
	page := os.Getpagesize()
	m, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(m) })
	for _, guard := range [][]byte{m[:page], m[page+size:]} {
		if err := unix.Mprotect(guard, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	inside := m[page : page+size : page+size]
	copy(inside, pattern(size))
	return inside
}

// TestNothingOutsideIsRead hashes messages that begin and end at pages that
// cannot be read.
func TestNothingOutsideIsRead(t *testing.T) {
	const size = 20 * chunkLen
	inside := guarded(t, size)
	eachHasher(t, func(t *testing.T, h *Hasher, key []byte) {
		for _, n := range borders() {
			if n > 20*chunkLen {
				break
			}
			first, last := inside[:n], inside[size-n:]
			if h.Sum(first) != want(key, first) || h.Sum(last) != want(key, last) {
				t.Fatalf("%d bytes", n)
			}
			checkMany(t, h, key, []Message{{first}, {last, first}, {first, last}, {last}})
		}
	})
}

// TestKernelsProved: what this machine can use passes the check at the start.
func TestKernelsProved(t *testing.T) {
	for _, k := range kernels() {
		if k != none && !proved(k) {
			t.Errorf("%v fails its check", k)
		}
	}
}

// TestGenerated: lanes_amd64.s is what gen.go writes.
func TestGenerated(t *testing.T) {
	fresh := filepath.Join(t.TempDir(), "lanes_amd64.s")
	if out, err := exec.Command("go", "run", "gen.go", "-o", fresh).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	a, err := os.ReadFile(fresh)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("lanes_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("lanes_amd64.s is not what gen.go writes: run go generate")
	}
}

// addPatterns adds the seeds of who cuts data by seed.
func addPatterns(f *testing.F) {
	f.Add(pattern(3), uint64(1))
	f.Add(pattern(5*chunkLen+1), uint64(2))
	f.Add(pattern(40*chunkLen), uint64(3))
}

// cutBySeed makes messages of data, in two parts each, for one of the keys.
func cutBySeed(data []byte, seed uint64) (key []byte, messages []Message, r *rand.Rand) {
	if seed%2 == 1 {
		key = testKey
	}
	r = rand.New(rand.NewPCG(seed, 0))
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 1+r.IntN(1<<r.IntN(17)))
		cut := r.IntN(n + 1)
		messages, rest = append(messages, Message{rest[:cut], rest[cut:n]}), rest[n:]
	}
	return key, messages, r
}

// FuzzSum cuts data into messages by seed, and hashes them together and one by one.
func FuzzSum(f *testing.F) {
	addPatterns(f)
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) {
		key, messages, _ := cutBySeed(data, seed)
		for _, k := range kernels() {
			h := newHasher(key, k)
			checkMany(t, h, key, messages)
			if h.Sum(data) != want(key, data) {
				t.Fatalf("%v: %d bytes", k, len(data))
			}
		}
	})
}

func BenchmarkSum(b *testing.B) {
	for _, k := range []kernel{none, assembly} {
		for _, n := range []int{64, 256, 1 << 10, 2 << 10, 4 << 10, 7 << 10, 12 << 10, 16 << 10, 16<<10 + 33, 28 << 10, 32 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("%v/%d", k, n), func(b *testing.B) {
				h, p := newHasher(testKey, k), pattern(n)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					h.Sum(p)
				}
			})
		}
	}
}

func BenchmarkSumMany(b *testing.B) {
	for _, n := range []int{1 << 10, 4 << 10, 12345, 16<<10 + 33, 28 << 10, 64 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h, p := newHasher(testKey, assembly), pattern(1<<20)
			var m []Message
			for ; len(p) >= n; p = p[n:] {
				m = append(m, Message{p[:n]})
			}
			sums := make([][32]byte, len(m))
			b.SetBytes(int64(n * len(m)))
			b.ReportAllocs()
			for b.Loop() {
				SumMany(h, sums, m)
			}
		})
	}
}

// BenchmarkSumCold hashes what is not in the processor's caches: 1 GiB, walked round and
// round, on as many cores as -cpu says.
func BenchmarkSumCold(b *testing.B) {
	const n, region = 28 << 10, 4 << 20
	p := pattern(1 << 30)
	h := newHasher(testKey, best())
	walk := func(b *testing.B, sum func(region []byte)) {
		var next atomic.Int64
		b.SetBytes(region)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				at := next.Add(region) % int64(len(p))
				sum(p[at : at+region])
			}
		})
	}
	b.Run("one", func(b *testing.B) {
		walk(b, func(region []byte) {
			for ; len(region) > 0; region = region[min(n, len(region)):] {
				h.Sum(region[:min(n, len(region))])
			}
		})
	})
	b.Run("many", func(b *testing.B) {
		walk(b, func(region []byte) {
			var m []Message
			for ; len(region) > 0; region = region[min(n, len(region)):] {
				m = append(m, Message{region[:min(n, len(region))]})
			}
			SumMany(h, make([][32]byte, len(m)), m)
		})
	})
}
