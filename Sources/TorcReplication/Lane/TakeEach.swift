// Effects and events go from machine to machine a hundred times a request. Each is moved on, never copied.

extension Array {
    /// Hands each element on, in order, without a copy of it. The array is empty then, and keeps its storage.
    @inlinable
    package mutating func takeEach(_ body: (consuming Element) -> Void) {
        if count > 1 { reverse() }
        while let element = popLast() { body(element) }
    }
}
