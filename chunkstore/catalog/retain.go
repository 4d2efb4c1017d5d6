package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"holdfast/chunkstore"
)

// Candidate is a version as a policy sees it.
type Candidate struct {
	ID       string
	Time     time.Time // what the version stands for
	Captured time.Time // zero: unknown
	Pinned   bool
	State    chunkstore.Validation // Hurt also where its manifest can't be read
}

func (c Candidate) damaged() bool { return c.State == chunkstore.Hurt }

// Verdict is a policy's word on one version.
type Verdict struct {
	Candidate
	Keep []string // the rules that keep it, such as "daily 2026-11-20"; none: it is to be forgotten
}

// Future reports whether the version is kept because it is dated in the future.
func (v Verdict) Future() bool { return slices.Contains(v.Keep, keptFuture) }

// Reasons to keep a version that are no rules of the policy.
const (
	keptPinned   = "pinned"
	keptFuture   = "dated in the future"
	keptYoung    = "younger than the minimum age"
	keptLast     = "the last version"
	keptLastGood = "the last good version"
	keptValid    = "the last valid version"
)

// Plan says of each of a VM's versions whether the policy keeps it and why,
// oldest first. now tells only which versions are dated in the future and which
// are younger than the minimum age; the rules count from the newest version that
// is not in the future.
//
// A rule for periods keeps the newest version of each of the last N periods that
// have any. A version that is known to be damaged is the one kept only where its
// period has no other, and such a period is not counted, nor is such a version by
// the rule for the last N. Versions in the future count nowhere and are kept. The
// last version, the last that is not known to be damaged and the last that was
// proved to be valid are always kept.
func (p Policy) Plan(versions []Candidate, now time.Time) ([]Verdict, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	loc, err := p.location()
	if err != nil {
		return nil, err
	}
	all := make([]Verdict, len(versions))
	for i, c := range versions {
		all[i].Candidate = c
	}
	slices.SortFunc(all, func(a, b Verdict) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID)) })
	var past []*Verdict // newest first
	for i := len(all) - 1; i >= 0; i-- {
		if v := &all[i]; v.Time.After(now) {
			v.keep(keptFuture)
		} else {
			past = append(past, v)
		}
	}
	keepLasts(past)
	for _, r := range p.rules() {
		r.apply(past, loc)
	}
	for i := range all {
		v := &all[i]
		if p.Within > 0 && len(past) > 0 && !v.Time.After(past[0].Time) && !v.Time.Before(past[0].Time.Add(-p.Within)) {
			v.keep("within " + p.Within.String())
		}
		if p.MinAge > 0 && (now.Sub(v.Time) < p.MinAge || !v.Captured.IsZero() && now.Sub(v.Captured) < p.MinAge) {
			v.keep(keptYoung)
		}
		if v.Pinned {
			v.keep(keptPinned)
		}
	}
	return all, nil
}

func (v *Verdict) keep(why string) { v.Keep = append(v.Keep, why) }

// keepLasts keeps the versions without which a VM would be lost. past is newest
// first.
func keepLasts(past []*Verdict) {
	if len(past) > 0 {
		past[0].keep(keptLast)
	}
	good := slices.IndexFunc(past, func(v *Verdict) bool { return !v.damaged() })
	if good >= 0 {
		past[good].keep(keptLastGood)
	}
	valid := slices.IndexFunc(past, func(v *Verdict) bool { return v.State == chunkstore.Valid })
	if valid >= 0 && valid != good {
		past[valid].keep(keptValid)
	}
}

// rule keeps the newest version of each of the last periods.
type rule struct {
	name   string
	n      int
	period func(time.Time) string // nil: each version is a period of its own
}

func (p Policy) rules() []rule {
	return []rule{
		{"last", p.Last, nil},
		// With its zone's offset: where clocks go back an hour comes twice.
		{"hourly", p.Hourly, func(t time.Time) string { return t.Format("2006-01-02 15h -0700") }},
		{"daily", p.Daily, func(t time.Time) string { return t.Format("2006-01-02") }},
		{"weekly", p.Weekly, func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprintf("%04d-W%02d", y, w) }},
		{"monthly", p.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
		{"yearly", p.Yearly, func(t time.Time) string { return t.Format("2006") }},
	}
}

func (r rule) apply(past []*Verdict, loc *time.Location) {
	left := r.n
	for i := 0; i < len(past) && left != 0; {
		period, to := "", i+1
		if r.period != nil {
			period = r.period(past[i].Time.In(loc))
			for to < len(past) && r.period(past[to].Time.In(loc)) == period {
				to++
			}
			period = " " + period
		}
		best := past[i]
		if k := slices.IndexFunc(past[i:to], func(v *Verdict) bool { return !v.damaged() }); k >= 0 {
			best = past[i+k]
			left-- // from NoLimit on it never gets to 0
		}
		best.keep(r.name + period)
		i = to
	}
}
