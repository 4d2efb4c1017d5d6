package catalog

// RootName is the name of the root of a version: what the store knows the
// version's state by.
func RootName(vm, id string) string { return rootName(vm, id) }
