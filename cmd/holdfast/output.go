package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/rivo/uniseg"
)

// printJSON writes one document with a line end.
func printJSON(w io.Writer, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// column is one of a table's; numbers stand right.
type column struct {
	title  string
	number bool
}

// printTable writes rows below a head, with two spaces between columns, as wide
// as a terminal shows them.
func printTable(w io.Writer, columns []column, rows [][]string) error {
	head := make([]string, len(columns))
	widths := make([]int, len(columns))
	for i, c := range columns {
		head[i] = strings.ToUpper(c.title)
	}
	rows = append([][]string{head}, rows...)
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], uniseg.StringWidth(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-uniseg.StringWidth(cell))
			if columns[i].number {
				line.WriteString(space + cell + "  ")
			} else {
				line.WriteString(cell + space + "  ")
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

// pair is one line of a sheet.
type pair struct{ name, value string }

// printPairs writes names and values below each other, indented.
func printPairs(w io.Writer, indent string, pairs []pair) error {
	width := 0
	for _, p := range pairs {
		width = max(width, len(p.name))
	}
	for _, p := range pairs {
		if p.value == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s%-*s  %s\n", indent, width, p.name, p.value); err != nil {
			return err
		}
	}
	return nil
}
