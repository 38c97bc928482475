#!/bin/sh
# Builds Flux's own source-controller, kustomize-controller and helm-controller,
# and puts their definitions beside them, for TestRealFlux:
#
#	sh build.sh DIR && PLUMB_TEST_FLUX=DIR go test ./test/scenario -run TestRealFlux
#
# They are built as upstream pins them, in modules of their own, but for
# dependencies whose pinned version cannot be had.
set -eu
dir=$1
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
: > "$dir/crds.yaml"
for each in source-controller@v1.9.5 kustomize-controller@v1.9.5 helm-controller@v1.6.4; do
	name=${each%@*} version=${each#*@}
	module=github.com/fluxcd/$name
	from=$(go mod download -json "$module@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	rm -rf "$dir/src"
	cp -r "$from" "$dir/src"
	chmod -R u+w "$dir/src"
	for crd in "$dir"/src/config/crd/bases/*.yaml; do
		cat "$crd" >> "$dir/crds.yaml"
	done
	(
		cd "$dir/src"
		go mod edit -replace "$module/api=$module/api@$version"
		if [ $name = source-controller ]; then
			go mod edit -replace github.com/fluxcd/pkg/artifact=github.com/fluxcd/pkg/artifact@v0.18.1
		fi
		GOFLAGS=-mod=mod go build -ldflags "-s -w" -o "$dir/$name" .
	)
done
rm -rf "$dir/src"
