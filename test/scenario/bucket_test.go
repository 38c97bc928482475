package scenario

import (
	"context"
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// s3 works on a bucket of the script's own in an S3-compatible store, $NS. Its
// address is in $S3, the keys in $S3KEY and $S3SECRET.
//
//	s3 make
//	s3 put KEY FILE
//	s3 delete KEY
func s3(ts *testscript.TestScript, neg bool, args []string) {
	store := ts.Value("s3").(func() *sandboxtest.S3)()
	ctx, bucket := context.Background(), ts.Getenv("NS")
	switch {
	case neg:
		ts.Fatalf("unsupported: ! s3")
	case len(args) == 1 && args[0] == "make":
		ts.Check(store.Make(ctx, bucket))
		ts.Setenv("S3", store.Endpoint)
		ts.Setenv("S3KEY", store.AccessKey)
		ts.Setenv("S3SECRET", store.SecretKey)
	case len(args) == 3 && args[0] == "put":
		data, err := os.ReadFile(ts.MkAbs(args[2]))
		ts.Check(err)
		ts.Check(store.Put(ctx, bucket, args[1], data))
	case len(args) == 2 && args[0] == "delete":
		ts.Check(store.Delete(ctx, bucket, args[1]))
	default:
		ts.Fatalf("usage: s3 make | s3 put KEY FILE | s3 delete KEY")
	}
}
