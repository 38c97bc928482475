package main

import (
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"

	"plumb.dev/plumb/internal/cli"
)

// program identifies this program down to its code, so that what it rendered
// is not taken for what another build would render. Version and commit are not
// enough: a work tree may have been changed, or no stamp been set. It is "" if
// it cannot be told.
func program(b cli.BuildInfo, executable string) string {
	for _, file := range []string{"/proc/self/exe", executable} { // the former is right even if the latter was replaced
		if id := buildID(file); id != "" {
			return b.Version + " " + b.Commit + " " + id
		}
		if info, err := os.Stat(file); err == nil {
			return fmt.Sprintf("%s %s %d bytes of %s", b.Version, b.Commit, info.Size(), info.ModTime().UTC())
		}
	}
	return ""
}

// buildID is what the Go linker wrote into an ELF file about its content, in
// hex; "" if there is nothing.
func buildID(file string) string {
	f, err := elf.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	section := f.Section(".note.go.buildid")
	if section == nil {
		return ""
	}
	const header = 16 // three numbers of 4 bytes, and the name "Go", padded
	note, err := section.Data()
	if err != nil || len(note) <= header || binary.LittleEndian.Uint32(note[4:]) == 0 {
		return ""
	}
	return hex.EncodeToString(note[header:])
}
