package controlplane

import (
	"context"
	"fmt"
	"net/url"
	"os"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

// maxSocketPath is what the systems allow for the path of a Unix socket, with
// some room (Linux 107 bytes, macOS 103).
const maxSocketPath = 100

// walSegmentSize in bytes; a segment still takes any entry, however large.
const walSegmentSize = 8 << 20

// startEtcd starts etcd on the data directory and returns its endpoint. It
// listens on a Unix socket only, because it has no users: who reaches etcd
// reads every Secret.
func startEtcd(ctx context.Context, dir *dataDir) (endpoint string, err error) {
	client, endpoint, err := etcdSocket(dir)
	if err != nil {
		return "", fmt.Errorf("etcd: %w", err)
	}

	config := embed.NewConfig()
	config.Dir = dir.etcd()
	config.ListenClientUrls = []url.URL{client}
	config.ListenPeerUrls = nil // it has no peers; the URLs it advertises are never used
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	// Written data survives the end of the process without fsync, though not a
	// loss of power; a sandbox may be lost with its machine.
	config.UnsafeNoFsync = true
	// It elects itself. Short ticks make that quick, and cost little.
	config.TickMs, config.ElectionMs = 40, 200
	// Space is allocated ahead, two segments at a time: a sandbox needs little,
	// and often lives in memory.
	wal.SegmentSizeBytes = walSegmentSize
	config.Logger = "zap"
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())

	server, err := embed.StartEtcd(config)
	if err != nil {
		return "", fmt.Errorf("etcd: %w", err)
	}
	select {
	case <-server.Server.ReadyNotify():
		return endpoint, nil
	case err := <-server.Err():
		return "", fmt.Errorf("etcd: %w", err)
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// etcdSocket is in the data directory: what etcd listens on, and what clients
// call it. A path too long for a socket is shortened by going there.
func etcdSocket(dir *dataDir) (listen url.URL, endpoint string, err error) {
	const name = "etcd.sock"
	if path := dir.file(name); len(path) <= maxSocketPath {
		return url.URL{Scheme: "unix", Path: path}, "unix://" + path, nil
	}
	if err := os.Chdir(dir.path); err != nil {
		return url.URL{}, "", err
	}
	return url.URL{Scheme: "unix", Host: name}, "unix:" + name, nil
}
