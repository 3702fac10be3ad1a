"""What a deployer reads, from a plan. The seam: `render(app, plan, images, ...) -> {path: text}`, pure."""
