package mapped

// Condition says how much of a volume can be read, from good to bad.
type Condition uint8

const (
	Whole       Condition = iota
	Degraded              // all of it, but copies are missing
	Incomplete            // parts of it are on disks that are not here
	Unsupported           // of a kind that is recognised and not read
	Damaged               // its metadata contradict themselves
)

func (c Condition) String() string {
	return [...]string{"ok", "degraded", "incomplete", "unsupported", "damaged"}[c]
}
