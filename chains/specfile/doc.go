// Package specfile reads chains from YAML and writes them.
package specfile
