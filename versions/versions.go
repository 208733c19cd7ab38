// Package versions holds what the repository ships of each Istio line that it pins: the
// recording of a whole run ("make matrix" writes it). It is data, and imports nothing.
package versions

import "embed"

// Recordings holds <line>.json.gz, as internal/upgrade packs them, beside the pins.
//
//go:embed *
var Recordings embed.FS
