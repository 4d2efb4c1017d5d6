package heal

import (
	"encoding/json"
	"errors"
	"slices"
	"unicode/utf8"
)

// Names of VMs, disks and files may be any bytes, and a JSON string may not: an
// encoder puts U+FFFD where it is not UTF-8. So each such name has its bytes
// beside it, in base64, under its key with "_bytes". They are there only where
// the string does not say it, and are what counts when it is read again.

// rawNames are the bytes of those names of a value that are not UTF-8.
type rawNames struct {
	VM        []byte   `json:"vm_bytes,omitempty"`
	Disk      []byte   `json:"disk_bytes,omitempty"`
	Volume    []byte   `json:"volume_bytes,omitempty"`
	Path      []byte   `json:"path_bytes,omitempty"`
	Manifests [][]byte `json:"manifests_bytes,omitempty"` // all of them, in order
}

// raw returns the bytes of a name that JSON can't hold, and nil of any other.
func raw(name string) []byte {
	if utf8.ValidString(name) {
		return nil
	}
	return []byte(name)
}

// set puts the bytes of a name in its place.
func set(name *string, b []byte) {
	if b != nil {
		*name = string(b)
	}
}

// join encodes a value and puts the names into its object.
func join(plain any, names rawNames) ([]byte, error) {
	a, errA := json.Marshal(plain)
	b, errB := json.Marshal(names)
	if err := errors.Join(errA, errB); err != nil || string(b) == "{}" {
		return a, err
	}
	return append(append(a[:len(a)-1], ','), b[1:]...), nil
}

// part decodes what join encoded.
func part(b []byte, plain any) (names rawNames, err error) {
	err = errors.Join(json.Unmarshal(b, plain), json.Unmarshal(b, &names))
	return names, err
}

// MarshalJSON implements json.Marshaler.
func (o Options) MarshalJSON() ([]byte, error) {
	type plain Options
	return join(plain(o), rawNames{VM: raw(o.VM)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *Options) UnmarshalJSON(b []byte) error {
	type plain Options
	names, err := part(b, (*plain)(o))
	set(&o.VM, names.VM)
	return err
}

// MarshalJSON implements json.Marshaler.
func (s LiveSource) MarshalJSON() ([]byte, error) {
	type plain LiveSource
	return join(plain(s), rawNames{Disk: raw(s.Disk), Path: raw(s.Path)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *LiveSource) UnmarshalJSON(b []byte) error {
	type plain LiveSource
	names, err := part(b, (*plain)(s))
	set(&s.Disk, names.Disk)
	set(&s.Path, names.Path)
	return err
}

// MarshalJSON implements json.Marshaler.
func (u Use) MarshalJSON() ([]byte, error) {
	type plain Use
	return join(plain(u), rawNames{VM: raw(u.VM), Disk: raw(u.Disk)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (u *Use) UnmarshalJSON(b []byte) error {
	type plain Use
	names, err := part(b, (*plain)(u))
	set(&u.VM, names.VM)
	set(&u.Disk, names.Disk)
	return err
}

// MarshalJSON implements json.Marshaler.
func (f HurtFile) MarshalJSON() ([]byte, error) {
	type plain HurtFile
	return join(plain(f), rawNames{VM: raw(f.VM), Disk: raw(f.Disk), Volume: raw(f.Volume), Path: raw(f.Path)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *HurtFile) UnmarshalJSON(b []byte) error {
	type plain HurtFile
	names, err := part(b, (*plain)(f))
	set(&f.VM, names.VM)
	set(&f.Disk, names.Disk)
	set(&f.Volume, names.Volume)
	set(&f.Path, names.Path)
	return err
}

// MarshalJSON implements json.Marshaler.
func (f Finding) MarshalJSON() ([]byte, error) {
	type plain Finding
	return join(plain(f), rawNames{VM: raw(f.VM)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *Finding) UnmarshalJSON(b []byte) error {
	type plain Finding
	names, err := part(b, (*plain)(f))
	set(&f.VM, names.VM)
	return err
}

// MarshalJSON implements json.Marshaler.
func (r Report) MarshalJSON() ([]byte, error) {
	type plain Report
	return join(plain(r), rawNames{VM: raw(r.VM)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Report) UnmarshalJSON(b []byte) error {
	type plain Report
	names, err := part(b, (*plain)(r))
	set(&r.VM, names.VM)
	return err
}

// MarshalJSON implements json.Marshaler.
func (r VerifyReport) MarshalJSON() ([]byte, error) {
	type plain VerifyReport
	return join(plain(r), rawNames{VM: raw(r.VM)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *VerifyReport) UnmarshalJSON(b []byte) error {
	type plain VerifyReport
	names, err := part(b, (*plain)(r))
	set(&r.VM, names.VM)
	return err
}

// MarshalJSON implements json.Marshaler.
func (r Range) MarshalJSON() ([]byte, error) {
	type plain Range
	return join(plain(r), rawNames{Disk: raw(r.Disk)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *Range) UnmarshalJSON(b []byte) error {
	type plain Range
	names, err := part(b, (*plain)(r))
	set(&r.Disk, names.Disk)
	return err
}

// MarshalJSON implements json.Marshaler.
func (r HurtRange) MarshalJSON() ([]byte, error) {
	type plain HurtRange
	return join(plain(r), rawNames{Disk: raw(r.Disk)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *HurtRange) UnmarshalJSON(b []byte) error {
	type plain HurtRange
	names, err := part(b, (*plain)(r))
	set(&r.Disk, names.Disk)
	return err
}

// MarshalJSON implements json.Marshaler.
func (v ReplicatedVersion) MarshalJSON() ([]byte, error) {
	type plain ReplicatedVersion
	return join(plain(v), rawNames{VM: raw(v.VM)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *ReplicatedVersion) UnmarshalJSON(b []byte) error {
	type plain ReplicatedVersion
	names, err := part(b, (*plain)(v))
	set(&v.VM, names.VM)
	return err
}

// MarshalJSON implements json.Marshaler.
func (r HurtReport) MarshalJSON() ([]byte, error) {
	type plain HurtReport
	var names rawNames
	if slices.ContainsFunc(r.Manifests, func(m string) bool { return raw(m) != nil }) {
		for _, m := range r.Manifests {
			names.Manifests = append(names.Manifests, []byte(m))
		}
	}
	return join(plain(r), names)
}

// UnmarshalJSON implements json.Unmarshaler.
func (r *HurtReport) UnmarshalJSON(b []byte) error {
	type plain HurtReport
	names, err := part(b, (*plain)(r))
	for i, m := range names.Manifests {
		if i < len(r.Manifests) {
			r.Manifests[i] = string(m)
		}
	}
	return err
}
