import ArgumentParser
import TorcConsole
import TorcServer

/// `torc cluster plan`: what the staged changes come to.
struct PlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Show what the changes staged at a node come to: who gives what to whom.",
        discussion: """
            REPLICAS counts partitions of which one node stops and another starts to hold a copy, for buckets of three
            copies. BYTES is what these partitions hold at the node that is asked, or would by the mean of its own.
            """)

    @OptionGroup var admin: AdminOptions

    func run() async throws {
        let body = try await admin.get("/admin/cluster/plan")
        try admin.show(body, as: PlanReport.self) { plan in
            print("plan \(plan.plan), for ring epoch \(plan.epoch):")
            for change in plan.changes { print("  \(change)") }
            print("\(plan.moved) of \(plan.partitions) partitions change their owner")
            if !plan.flows.isEmpty { print(Self.table(plan.flows)) }
            let next = "with one of the next \(plan.copies - 1)"
            if plan.repeatedNodes > 0 {
                print("\(plan.repeatedNodes) share their owner \(next): their copies lie further on")
            }
            if plan.repeatedZones > plan.repeatedNodes {
                print("warning: \(plan.repeatedZones) share a zone \(next): copies can lie in one zone")
            }
            print("Commit it with: torc cluster commit \(plan.plan) --http \(admin.http)")
        }
    }

    private static func table(_ flows: [PlanReport.Flow]) -> String {
        var table = TextTable([.left("FROM"), .left("TO"), .right("REPLICAS"), .right("BYTES")])
        for flow in flows {
            table.add([flow.from ?? "-", flow.to ?? "-", "\(flow.partitions)", TextTable.bytes(flow.bytes)])
        }
        let bytes = flows.reduce(0) { $0 + $1.bytes }
        table.add(["", "", "\(flows.reduce(0) { $0 + $1.partitions })", TextTable.bytes(bytes)])
        return table.text
    }
}
