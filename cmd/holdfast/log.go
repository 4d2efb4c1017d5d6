package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// logHandler prints log records as one line for a person:
//
//	holdfast: warning: a pack can't be read (pack=17 err="input/output error")
type logHandler struct {
	con   *console
	level slog.Level
	attrs string // of WithAttrs, formatted
	group string // of WithGroup, with a dot behind
}

var _ slog.Handler = (*logHandler)(nil)

// hintKey is the attribute that says what to do; it gets a line of its own.
const hintKey = "do"

var levelWords = map[slog.Level]string{
	slog.LevelDebug: "debug: ", slog.LevelInfo: "", slog.LevelWarn: "warning: ", slog.LevelError: "error: ",
}

// Enabled implements slog.Handler.
func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// Handle implements slog.Handler.
func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	attrs, hint := h.attrs, ""
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == hintKey {
			hint = "hint: " + oneLine(a.Value.String()) + "\n"
		} else {
			attrs += h.format(a)
		}
		return true
	})
	if attrs != "" {
		attrs = " (" + attrs[1:] + ")"
	}
	word, ok := levelWords[r.Level]
	if !ok {
		word = strings.ToLower(r.Level.String()) + ": "
	}
	_, err := fmt.Fprintf(h.con, "%s: %s%s%s\n%s", programName, word, oneLine(r.Message), attrs, hint)
	return err
}

func (h *logHandler) format(a slog.Attr) string {
	text := oneLine(a.Value.Resolve().String())
	if text == "" || strings.ContainsAny(text, " \"=()") {
		text = fmt.Sprintf("%q", text)
	}
	return " " + h.group + a.Key + "=" + text
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	for _, a := range attrs {
		n.attrs += h.format(a)
	}
	return &n
}

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(name string) slog.Handler {
	n := *h
	n.group += name + "."
	return &n
}
