// Command registry is distribution's registry with the one storage driver that
// scripts/prove-official-lane.sh needs. The project's own main links the SDKs
// of three clouds besides.
package main

import (
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if registry.RootCmd.Execute() != nil {
		os.Exit(1)
	}
}
