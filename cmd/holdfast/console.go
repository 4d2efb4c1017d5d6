package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// console is standard error: messages, log lines and at most one progress bar,
// which never mix. It is safe for concurrent use.
type console struct {
	w     io.Writer
	tty   bool
	quiet bool // set before anything is printed

	mu  sync.Mutex // guards bar and the order of what is written
	bar *progressbar.ProgressBar
}

func newConsole(f *os.File) *console { return &console{w: f, tty: isTTY(int(f.Fd()))} }

func isTTY(fd int) bool { return term.IsTerminal(fd) }

// Write prints whole lines, above a bar that is there.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bar == nil {
		return c.w.Write(p)
	}
	c.bar.Clear()
	n, err := c.w.Write(p)
	c.bar.RenderBlank()
	return n, err
}

// printf prints an error or a hint.
func (c *console) printf(format string, args ...any) { fmt.Fprintf(c, format, args...) }

// note prints a message that a person may want and a script does not.
func (c *console) note(format string, args ...any) {
	if !c.quiet {
		c.printf("%s: %s\n", programName, oneLine(fmt.Sprintf(format, args...)))
	}
}

// startBar shows a bar until endProgress.
func (c *console) startBar(bar *progressbar.ProgressBar) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bar = bar
}

// barSteps are the steps of a bar, which never reaches the last: there it would
// close its line. The total is not known from the start and can't be its end.
const barSteps = 10000

// setBar moves the bar and changes the words behind it.
func (c *console) setBar(words string, done, total int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bar == nil {
		return
	}
	c.bar.Describe(oneLine(words))
	if total <= 0 {
		return
	}
	c.bar.Set(int(float64(barSteps-1) * min(float64(done)/float64(total), 1))) //nolint:errcheck // it draws, no more
}

// endProgress takes the bar away.
func (c *console) endProgress() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bar != nil {
		c.bar.Clear()
		c.bar = nil
	}
}
