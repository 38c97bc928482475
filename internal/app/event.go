package app

// Event is one line for the event stream of the custom resource that declares
// an app or a source.
type Event struct {
	Warning     bool
	Reason      string // CamelCase, in words of the dialect
	Message     string // free of secrets
	Annotations map[string]string
	// Leads: where events of one report are written as one, it is under this
	// one's reason.
	Leads bool
}
