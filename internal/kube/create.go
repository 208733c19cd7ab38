package kube

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"
)

// DryRunCreate asks the API server whether it would create a document, as it is
// written: no type of ours stands between the text and the server. Nothing is
// stored. The answer is the object as it would be, or a Status with the refusal;
// an error means that the server could not be asked.
func (c *Client) DryRunCreate(ctx context.Context, document string) ([]byte, error) {
	body, err := yaml.YAMLToJSON([]byte(document))
	if err != nil {
		return nil, fmt.Errorf("the document is no YAML: %w", err)
	}
	var meta metav1.PartialObjectMetadata
	if err := yaml.Unmarshal([]byte(document), &meta); err != nil {
		return nil, fmt.Errorf("the document has no readable metadata: %w", err)
	}
	kind := schema.FromAPIVersionAndKind(meta.APIVersion, meta.Kind)
	mapping, err := c.mapper().RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, fmt.Errorf("find the resource of %s: %w", kind, err)
	}
	result := c.Typed.Discovery().RESTClient().Post().
		AbsPath("/apis", kind.Group, kind.Version, "namespaces", meta.Namespace, mapping.Resource.Resource).
		Param("dryRun", metav1.DryRunAll).Param("fieldValidation", metav1.FieldValidationStrict).
		SetHeader("Content-Type", "application/json").Body(body).Do(ctx)
	raw, _ := result.Raw()
	var status apierrors.APIStatus
	if err := result.Error(); err != nil && !errors.As(err, &status) {
		return raw, fmt.Errorf("ask the API server about a %s: %w", kind.Kind, err)
	}
	return raw, nil
}

// mapper knows the API's resources; it asks for them once.
func (c *Client) mapper() *restmapper.DeferredDiscoveryRESTMapper {
	c.mapping.Do(func() {
		c.mapped = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.Typed.Discovery()))
	})
	return c.mapped
}
