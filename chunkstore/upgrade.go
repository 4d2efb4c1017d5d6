package chunkstore

import (
	"fmt"

	"holdfast/chunkstore/pack"
)

// Upgraded returns the configuration that Upgrade would give the store.
func (s *Store) Upgraded(compress pack.CodecID) Config {
	cfg := s.cfg
	cfg.Compression, cfg.FormatVersion = compress, FormatVersion
	return cfg
}

// Upgrade gives the store the newest format and has records to come compressed by
// compress; no store goes back to an older format. What is stored
// stays as it is. It is in force when the store is opened next, for each process
// that opens it; a crash leaves the old configuration or the new one.
func (s *Store) Upgrade(compress pack.CodecID) (Config, error) {
	cfg := s.Upgraded(compress)
	if cfg == s.cfg {
		return cfg, nil
	}
	// The copy first: once config.json has the new format, no older program may
	// find the old one.
	for _, name := range []string{configCopy, configName} {
		if err := writeConfig(s.fs, s.dir, name, cfg); err != nil {
			return s.cfg, fmt.Errorf("upgrade store %s: %w", s.dir, err)
		}
	}
	return cfg, nil
}
