// Package heal is the floor of scrub, damage, repair plans and validation. It
// holds nothing yet: reads prove every chunk already (package chunkstore), and
// the store brings its index and its packs together when it is opened.
package heal
