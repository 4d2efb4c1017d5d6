package main

import (
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
)

const (
	barInterval  = 250 * time.Millisecond
	lineInterval = 10 * time.Second
	// rateMemory is how many intervals the shown rate looks back.
	rateMemory = 12
)

// gauge tells how far work has come. Its functions may be called at any time.
type gauge struct {
	what  string                     // "capturing web"
	bytes func() (done, total int64) // of the disk, holes included; total 0: not known yet
	moved func() int64               // bytes really read or written: holes would make the rate a lie
}

// watch shows a gauge while work is done: a bar with rate and time left on a
// terminal, one line each 10 s elsewhere, nothing where quiet is wanted. The
// caller calls the result when the work ends.
func (c *console) watch(g gauge) (end func()) {
	if c.quiet {
		return func() {}
	}
	interval := lineInterval
	if c.tty {
		interval = barInterval
		c.startBar(newBar(c, g))
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		c.follow(g, interval, stop)
	}()
	return func() {
		close(stop)
		<-stopped
		c.endProgress()
	}
}

// follow shows the gauge at each interval.
func (c *console) follow(g gauge, interval time.Duration, stop <-chan struct{}) {
	began := time.Now()
	rate := meter{interval: interval}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		done, total := g.bytes()
		words := progressWords(done, total, rate.add(g.moved()), time.Since(began))
		if c.tty {
			c.setBar(g.what+": "+words, done, total)
		} else {
			c.note("%s: %s%s", g.what, percentText(done, total), words)
		}
	}
}

func newBar(c *console, g gauge) *progressbar.ProgressBar {
	return progressbar.NewOptions(barSteps,
		progressbar.OptionSetWriter(c.w),
		progressbar.OptionSetDescription(oneLine(g.what)),
		progressbar.OptionShowDescriptionAtLineEnd(),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false),
		progressbar.OptionFullWidth(),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionSetTheme(progressbar.Theme{Saucer: "█", SaucerPadding: "░"}),
	)
}

// meter makes a rate of the last few looks at a counter.
type meter struct {
	interval time.Duration
	seen     []int64
}

// add takes the counter's value and returns the rate in bytes a second.
func (m *meter) add(n int64) int64 {
	if k := len(m.seen); k > 0 && n < m.seen[k-1] {
		m.seen = nil // the work began anew
	}
	m.seen = append(m.seen, n)
	if len(m.seen) > rateMemory {
		m.seen = m.seen[1:]
	}
	span := time.Duration(len(m.seen)-1) * m.interval
	if span == 0 {
		return int64(float64(n) / m.interval.Seconds())
	}
	return int64(float64(n-m.seen[0]) / span.Seconds())
}

// progressWords words how far it is: 9.8 GiB of 40 GiB, 310 MiB/s, 1m54s left. Where the
// total is not known yet, 9.8 GiB, 310 MiB/s.
func progressWords(done, total, rate int64, elapsed time.Duration) string {
	if total <= 0 {
		return fmt.Sprintf("%s, %s/s", sizeText(done), sizeText(rate))
	}
	words := fmt.Sprintf("%s of %s, %s/s", sizeText(done), sizeText(total), sizeText(rate))
	if left, ok := timeLeft(done, total, elapsed); ok {
		words += ", " + left.Round(time.Second).String() + " left"
	}
	return words
}

func percentText(done, total int64) string {
	if total <= 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%, ", min(float64(done)/float64(total), 1)*100)
}

func timeLeft(done, total int64, elapsed time.Duration) (time.Duration, bool) {
	if done <= 0 || total < done {
		return 0, false
	}
	return time.Duration(float64(elapsed) / float64(done) * float64(total-done)), true
}
