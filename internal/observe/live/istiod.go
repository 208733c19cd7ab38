package live

import (
	"context"
	"encoding/json"
	"fmt"
)

// ConfigKey names one of Istio's objects.
type ConfigKey struct{ Kind, Namespace, Name string }

// IstiodConfigs are the objects that istiod has read, with their resourceVersion.
func (s *Source) IstiodConfigs(ctx context.Context) (map[ConfigKey]string, error) {
	// ENABLE_DEBUG_ON_HTTP, which serves it, is istiod's default.
	raw, err := s.istiod.get(ctx, "/debug/configz")
	if err != nil {
		return nil, err
	}
	return parseConfigs(raw)
}

func parseConfigs(raw []byte) (map[ConfigKey]string, error) {
	var list []struct {
		Kind     string
		Metadata struct{ Namespace, Name, ResourceVersion string }
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("istiod's list of objects: %w: %.200s", err, raw)
	}
	configs := map[ConfigKey]string{}
	for _, o := range list {
		if o.Kind == "" || o.Metadata.Name == "" || o.Metadata.ResourceVersion == "" {
			return nil, fmt.Errorf("istiod lists an object without kind, name or resourceVersion: %+v", o)
		}
		configs[ConfigKey{o.Kind, o.Metadata.Namespace, o.Metadata.Name}] = o.Metadata.ResourceVersion
	}
	return configs, nil
}
