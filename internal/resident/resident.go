// Package resident keeps what a process holds in memory small. It knows Go's
// heap and the program's own file, and nothing of what the process is for.
package resident

// Return gives back what only the start of the process needed.
func Return() { FindProgram().Return() }
