package livesource

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Redacted stands where something secret was, in Envoy's words.
const Redacted = "[redacted]"

var (
	// A key in PEM: as it is in JSON, where line ends are \n in letters.
	privatePEM = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|")`)
	// Base64 of something that begins with "-----BEGIN ".
	encodedPEM = regexp.MustCompile(`"LS0tLS1CRUdJTi[A-Za-z0-9+/=]+"`)
)

// redactPEM takes private keys out of JSON, in plain and in base64, and reports whether
// there was one.
func redactPEM(raw []byte) ([]byte, bool) {
	found := false
	if bytes.Contains(raw, []byte("PRIVATE KEY-----")) {
		raw = privatePEM.ReplaceAllFunc(raw, func(match []byte) []byte {
			found = true
			if match[len(match)-1] == '"' { // it had no end
				return []byte(Redacted + `"`)
			}
			return []byte(Redacted)
		})
	}
	if bytes.Contains(raw, []byte(`"LS0tLS1CRUdJTi`)) {
		raw = encodedPEM.ReplaceAllFunc(raw, func(match []byte) []byte {
			plain, err := base64.StdEncoding.DecodeString(string(match[1 : len(match)-1]))
			if err == nil && !bytes.Contains(plain, []byte("PRIVATE KEY-----")) {
				return match
			}
			found = true
			return []byte(`"` + base64.StdEncoding.EncodeToString([]byte(Redacted)) + `"`)
		})
	}
	return raw, found
}

// secretFields are Envoy's fields with something secret in them, in both spellings.
var secretFields = []string{
	"private_key", "privateKey", "password", "session_ticket_keys", "sessionTicketKeys", "generic_secret", "genericSecret", "pkcs12",
	"client_secret", "clientSecret", "access_token", "accessToken",
}

var errNoConfigs = errors.New("the config dump has no configs")

// redactDump keeps of a config dump what an audit reads. Envoy redacts its keys itself,
// and istiod those of SDS; that is verified, not trusted: a dump whose SDS section has a
// key is refused, and anywhere else a key is taken out, with a note.
func redactDump(raw []byte) ([]byte, []string, error) {
	var dump struct {
		Configs []json.RawMessage `json:"configs"`
	}
	if err := json.Unmarshal(raw, &dump); err != nil {
		return nil, nil, fmt.Errorf("the config dump cannot be read: %w", err)
	}
	if len(dump.Configs) == 0 {
		return nil, nil, errNoConfigs
	}
	var notes []string
	out := struct {
		Configs []json.RawMessage `json:"configs"`
	}{}
	for _, section := range dump.Configs {
		var head struct {
			Type string `json:"@type"`
		}
		if err := json.Unmarshal(section, &head); err != nil {
			return nil, nil, fmt.Errorf("the config dump cannot be read: %w", err)
		}
		kind := head.Type[strings.LastIndexByte(head.Type, '.')+1:]
		if kind == "BootstrapConfigDump" {
			continue // the pod's environment is in it
		}
		clean, keys, err := redactSection(section)
		if err != nil {
			return nil, nil, fmt.Errorf("%s cannot be read: %w", kind, err)
		}
		if keys && kind == "SecretsConfigDump" {
			return nil, nil, errors.New("a private key is in the config dump, which Envoy and istiod redact: it was thrown away")
		}
		if keys {
			notes = append(notes, "something secret was taken out of "+kind+": an EnvoyFilter or extension provider holds it in plain text")
		}
		out.Configs = append(out.Configs, clean)
	}
	clean, err := json.Marshal(out)
	return clean, notes, err
}

func redactSection(raw json.RawMessage) (json.RawMessage, bool, error) {
	raw, found := redactPEM(raw)
	if !slices.ContainsFunc(secretFields, func(f string) bool { return bytes.Contains(raw, []byte(`"`+f+`"`)) }) {
		return raw, found, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, false, err
	}
	if redactFields(v, false) {
		found = true
	}
	out, err := json.Marshal(v)
	return out, found, err
}

// redactFields replaces values under secret fields. A file's name, an SDS secret's name
// and a match on such a name are no secrets.
func redactFields(v any, secret bool) (found bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			inner := secret || slices.Contains(secretFields, key)
			text, isText := value.(string)
			switch {
			case inner && isText && !isRedacted(text) && !slices.Contains([]string{"filename", "name", "@type", "environment_variable", "environmentVariable", "path"}, key):
				v[key] = redactedAs(key)
				found = true
			case !isText:
				found = redactFields(value, inner) || found
			}
		}
	case []any:
		for i, value := range v {
			if text, ok := value.(string); ok && secret && !isRedacted(text) {
				v[i], found = Redacted, true
				continue
			}
			found = redactFields(value, secret) || found
		}
	}
	return found
}

var redactedBytes = base64.StdEncoding.EncodeToString([]byte(Redacted))

func isRedacted(s string) bool { return s == "" || s == Redacted || s == redactedBytes }

// redactedAs keeps bytes readable as bytes.
func redactedAs(key string) string {
	if key == "inline_bytes" || key == "inlineBytes" {
		return redactedBytes
	}
	return Redacted
}

// redactMesh takes passwords out of a mesh configuration: tracing providers have access
// tokens and headers. Other text stays as it was written.
func redactMesh(config string) (string, error) {
	var v any
	if err := yaml.Unmarshal([]byte(config), &v); err != nil {
		return "", fmt.Errorf("it cannot be read: %w", err)
	}
	if !redactTokens(v) && !strings.Contains(config, "PRIVATE KEY-----") {
		return config, nil
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	raw, _ = redactPEM(raw)
	out, err := yaml.JSONToYAML(raw)
	return string(out), err
}

func redactTokens(v any) (found bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			switch key {
			case "accessToken", "password", "token":
				v[key], found = Redacted, true
			case "headers", "initialMetadata":
				found = redactValues(value) || found
			default:
				found = redactTokens(value) || found
			}
		}
	case []any:
		for _, one := range v {
			found = redactTokens(one) || found
		}
	}
	return found
}

// redactValues replaces the values of headers.
func redactValues(v any) (found bool) {
	headers, ok := v.([]any)
	if !ok {
		return false
	}
	for _, h := range headers {
		if h, ok := h.(map[string]any); ok && h["value"] != nil {
			h["value"], found = Redacted, true
		}
	}
	return found
}
