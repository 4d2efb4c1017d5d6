package catalog

// RootName is the name of the root of a version: what the store knows the
// version's state by.
func RootName(vm, id string) string { return rootName(vm, id) }

// ParseRootName splits the name of a version's root into VM and version; the
// store may hold roots of other kinds, too, which are an error here.
func ParseRootName(name string) (vm, id string, err error) { return parseRootName(name) }
