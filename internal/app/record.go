package app

import (
	"fmt"
	"strings"

	"plumb.dev/plumb/internal/object"
)

// A record as text is four fields separated by one space,
//
//	<namespace>_<name>_<group>_<Kind> <version> <desired> <owned>
//
// where "-" stands for an empty field. The first is the id that Flux keeps in
// its inventory: a colon (RBAC names have them) is written as two underscores.
// What names could hold beyond that and would break the fields (underscores,
// spaces) is percent-encoded; "%" itself is in no name.

// Making a Replacer costs far more than using it.
var (
	escape   = strings.NewReplacer("%", "%25", "_", "%5F", " ", "%20", "\t", "%09", "\n", "%0A", "\r", "%0D", ":", "__")
	unescape = strings.NewReplacer("__", ":", "%5F", "_", "%20", " ", "%09", "\t", "%0A", "\n", "%0D", "\r", "%25", "%")
)

// FormatRef writes a reference as an inventory id.
func FormatRef(ref object.Ref) string {
	return escape.Replace(ref.Namespace) + "_" + escape.Replace(ref.Name) + "_" +
		escape.Replace(ref.Group) + "_" + escape.Replace(ref.Kind)
}

// ParseRef reads an inventory id, as FormatRef and Flux write it.
func ParseRef(id string) (object.Ref, error) {
	bad := func() (object.Ref, error) {
		return object.Ref{}, fmt.Errorf("%q is no inventory id: want <namespace>_<name>_<group>_<Kind>", id)
	}
	namespace, rest, ok := strings.Cut(id, "_")
	if !ok {
		return bad()
	}
	cutLast := func() (last string, ok bool) {
		i := strings.LastIndexByte(rest, '_')
		if i < 0 {
			return "", false
		}
		last, rest = rest[i+1:], rest[:i]
		return last, true
	}
	kind, ok1 := cutLast()
	group, ok2 := cutLast()
	name := rest
	if !ok1 || !ok2 || kind == "" || name == "" || strings.Contains(namespace+group+kind, ":") ||
		strings.Contains(strings.ReplaceAll(name, "__", ""), "_") {
		return bad()
	}
	return object.Ref{
		Group: unescape.Replace(group), Kind: unescape.Replace(kind),
		Namespace: unescape.Replace(namespace), Name: unescape.Replace(name),
	}, nil
}

// FormatRecord writes a record as text for a status.
func FormatRecord(r Record) string {
	field := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	return strings.Join([]string{FormatRef(r.Ref), field(r.Version), field(r.Desired), field(r.Owned)}, " ")
}

// ParseRecord reads what FormatRecord wrote.
func ParseRecord(text string) (Record, error) {
	fields := strings.Split(text, " ")
	if len(fields) != 4 {
		return Record{}, fmt.Errorf("%q is no record: want 4 fields, got %d", text, len(fields))
	}
	ref, err := ParseRef(fields[0])
	if err != nil {
		return Record{}, err
	}
	for i, f := range fields[1:] {
		if f == "" {
			return Record{}, fmt.Errorf("%q is no record: field %d is empty", text, i+2)
		}
		if f == "-" {
			fields[i+1] = ""
		}
	}
	return Record{Ref: ref, Version: fields[1], Desired: fields[2], Owned: fields[3]}, nil
}
