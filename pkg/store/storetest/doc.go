// Package storetest is the conformance suite of [store.Log]: what every back end must do, and what [store.Store] makes of it. A back
// end's own test brings a [Cluster] of it and calls [Run].
package storetest
