package envoy

import (
	"encoding/json"
	"fmt"
	"strings"
)

// ParseVersion reads Envoy's version, "1.39.3", from GET /server_info, whose
// field is "<commit>/1.39.3/Clean/RELEASE/BoringSSL".
func ParseVersion(raw []byte) (string, error) {
	var info struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		return "", fmt.Errorf("server_info: %w", err)
	}
	parts := strings.Split(info.Version, "/")
	if len(parts) != 5 {
		return "", fmt.Errorf("server_info: version %q has not the five parts that Envoy prints", info.Version)
	}
	return parts[1], nil
}
