package catalog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"holdfast/chunkstore"
)

const (
	// NoLimit in the place of a number keeps every period's version.
	NoLimit = -1

	maxKeep      = 1 << 20
	maxKeepTime  = 200 * 366 * 24 * time.Hour
	policyFormat = 1
	localZone    = "local"
)

// Policy says which versions of a VM are kept. Each rule keeps what it keeps,
// whatever the others say; what none keeps may be forgotten. The zero value has
// no rule.
type Policy struct {
	Last    int `json:"keep_last,omitempty"`    // the newest ones
	Hourly  int `json:"keep_hourly,omitempty"`  // the newest of each of the last hours that have any
	Daily   int `json:"keep_daily,omitempty"`   // likewise
	Weekly  int `json:"keep_weekly,omitempty"`  // ISO weeks, from Monday on
	Monthly int `json:"keep_monthly,omitempty"` //
	Yearly  int `json:"keep_yearly,omitempty"`  //
	// Within keeps what is no older than this, counted back from the newest
	// version that is not in the future.
	Within time.Duration `json:"keep_within_ns,omitempty"`
	// MinAge is the age, by what a version stands for and by when it was
	// captured, below which nothing is forgotten.
	MinAge time.Duration `json:"min_age_ns,omitempty"`
	// Zone is where days begin: "" or UTC, local (of the machine that asks), or
	// a name such as Europe/Berlin.
	Zone string `json:"zone,omitempty"`
}

// Keeps reports whether the policy has any rule: one without would forget all.
func (p Policy) Keeps() bool {
	return p.Last != 0 || p.Hourly != 0 || p.Daily != 0 || p.Weekly != 0 || p.Monthly != 0 || p.Yearly != 0 || p.Within != 0
}

// Validate reports the first thing that is wrong with a policy.
func (p Policy) Validate() error {
	if !p.Keeps() {
		return errors.New("policy: it keeps nothing; give it a rule such as --keep-daily 7")
	}
	for _, n := range []int{p.Last, p.Hourly, p.Daily, p.Weekly, p.Monthly, p.Yearly} {
		if n < NoLimit || n > maxKeep {
			return fmt.Errorf("policy: it keeps %d; want 1 to %d, or %d for all", n, maxKeep, NoLimit)
		}
	}
	for _, d := range []time.Duration{p.Within, p.MinAge} {
		if d < 0 || d > maxKeepTime {
			return fmt.Errorf("policy: an age of %v is out of bounds", d)
		}
	}
	_, err := p.location()
	return err
}

func (p Policy) location() (*time.Location, error) {
	switch p.Zone {
	case "":
		return time.UTC, nil
	case localZone:
		return time.Local, nil
	}
	loc, err := time.LoadLocation(p.Zone)
	if err != nil {
		return nil, fmt.Errorf("policy: time zone %q is not known here; name one such as UTC, local or Europe/Berlin", p.Zone)
	}
	return loc, nil
}

// policyFile is a policy as it is stored.
type policyFile struct {
	Format  int  `json:"format"`
	Inherit bool `json:"inherit,omitempty"` // it was taken away: the default counts again
	Policy
}

func (f policyFile) encode() ([]byte, error) {
	f.Format = policyFormat
	b, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode policy: %w", err)
	}
	return b, nil
}

// decodePolicy reads a stored policy, which is not trusted. ok tells whether it
// is one, and not the end of one.
func decodePolicy(b []byte) (p Policy, ok bool, err error) {
	var f policyFile
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return Policy{}, false, fmt.Errorf("decode policy (was it set by a newer holdfast?): %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Policy{}, false, errors.New("decode policy: something follows it")
	}
	if f.Format != policyFormat {
		return Policy{}, false, fmt.Errorf("decode policy: format %d is not known: use a newer holdfast", f.Format)
	}
	if f.Inherit {
		return Policy{}, false, nil
	}
	return f.Policy, true, f.Policy.Validate()
}

// ownPolicy returns the policy that a VM has of its own, and its sequence number.
func ownPolicy(ctx context.Context, r chunkstore.Roots, vm string) (p Policy, ok bool, seq uint64, err error) {
	var last []byte
	prefix := seqPrefix(policyPrefix, vm)
	var bad error
	err = r.Roots(ctx, prefix, "", func(name string, body []byte) bool {
		seq, bad = parseSeq(name[len(prefix):])
		last = append(last[:0], body...)
		return bad == nil
	})
	if err = errors.Join(err, bad); err == nil && last != nil {
		p, ok, err = decodePolicy(last)
	}
	if err != nil {
		return Policy{}, false, seq, fmt.Errorf("read the policy of %s: %w", policyOwner(vm), err)
	}
	return p, ok, seq, nil
}

func policyOwner(vm string) string {
	if vm == "" {
		return "the store"
	}
	return fmt.Sprintf("VM %q", vm)
}

// PolicyOf returns the policy that counts for a VM: its own, or else the
// default; ok tells whether there is one, own whether it is the VM's. VM "" asks
// for the default.
func PolicyOf(ctx context.Context, r chunkstore.Roots, vm string) (p Policy, own, ok bool, err error) {
	p, ok, _, err = ownPolicy(ctx, r, vm)
	if err != nil || ok || vm == "" {
		return p, ok, ok, err
	}
	p, ok, _, err = ownPolicy(ctx, r, "")
	return p, false, ok, err
}

// Policies returns the names that have a policy of their own, sorted bytewise;
// "" is the default's. A VM need not exist to have one.
func Policies(ctx context.Context, r chunkstore.Roots) ([]string, error) {
	var vms []string
	var bad error
	err := r.Roots(ctx, policyPrefix, "", func(name string, body []byte) bool {
		var vm string
		if vm, _, bad = parseSeqName(policyPrefix, name); bad != nil {
			return false
		}
		_, ok, err := decodePolicy(body)
		n := len(vms) - 1
		switch has := n >= 0 && vms[n] == vm; {
		case !has && (ok || err != nil):
			vms = append(vms, vm)
		case has && !ok && err == nil:
			vms = vms[:n]
		}
		return true
	})
	if err = errors.Join(err, bad); err != nil {
		return nil, fmt.Errorf("list policies: %w", err)
	}
	return vms, nil
}

// SetPolicy makes p the policy of a VM, or with VM "" the default; nil takes a
// policy away.
func SetPolicy(ctx context.Context, s Keeper, vm string, p *Policy) error {
	f := policyFile{Inherit: p == nil}
	if p != nil {
		if err := p.Validate(); err != nil {
			return err
		}
		f.Policy = *p
	}
	body, err := f.encode()
	if err != nil {
		return err
	}
	if vm != "" {
		if err := CheckName("VM", vm); err != nil {
			return err
		}
	}
	return untilCommitted(ctx, s, "policy of "+policyOwner(vm), func(ses chunkstore.Session) error {
		_, had, seq, err := ownPolicy(ctx, s, vm)
		if err != nil && seq == 0 {
			return err // nothing is known; what can't be read may be replaced
		}
		if p == nil && !had && err == nil {
			return nil
		}
		if seq == math.MaxUint64 {
			return errNoSeq
		}
		return ses.Commit(ctx, appendSeq(seqPrefix(policyPrefix, vm), seq+1), body)
	})
}
