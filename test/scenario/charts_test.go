package scenario

import (
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"plumb.dev/plumb/internal/sandbox/chartserver"
)

// charts is a Helm repository of the script's own, at $CHARTS:
//
//	charts serve [USER PASSWORD]
//	charts publish DIRECTORY [VERSION]
//	charts withdraw ARCHIVE
//	charts open                         asks for no password any more
//	charts down
//
// What it serves is in $WORK/charts.
func charts(ts *testscript.TestScript, neg bool, args []string) {
	server := ts.Value("charts").(**chartserver.Server)
	switch {
	case neg || len(args) == 0:
		ts.Fatalf("usage: charts serve|publish|withdraw|open|down …")
	case args[0] == "serve" && *server == nil && (len(args) == 1 || len(args) == 3):
		opt := chartserver.Options{Dir: ts.MkAbs("charts")}
		if len(args) == 3 {
			opt.Username, opt.Password = args[1], args[2]
		}
		started, err := chartserver.New(opt)
		ts.Check(err)
		*server = started
		ts.Defer(started.Close)
		ts.Setenv("CHARTS", started.URL)
	case args[0] == "publish" && *server != nil && (len(args) == 2 || len(args) == 3):
		_, err := (*server).Publish(ts.MkAbs(args[1]), strings.Join(args[2:], ""))
		ts.Check(err)
	case args[0] == "withdraw" && *server != nil && len(args) == 2:
		ts.Check((*server).Withdraw(args[1]))
	case args[0] == "open" && *server != nil:
		(*server).Open()
	case args[0] == "down" && *server != nil:
		(*server).Close()
	default:
		ts.Fatalf("cannot: charts %v", args)
	}
}
